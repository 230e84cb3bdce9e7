"""Which part of the picture each pixel shows: by the segmenter of avatars, or from a file."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sarigan.errors import InputError
from sarigan.files.reading import read_npz
from sarigan.models.feature_networks.avatar_networks import SEGMENTER_FILE, load_avatar_segmenter, read_record


@dataclass(frozen=True)
class PartMasks:
    """Masks of images, and where they come from."""

    masks: Tensor  # int64 [N,R,R], an index into `names`
    names: tuple[str, ...]
    source: str  # for captions: the segmenter with its held-out score, or the file


def segmented_avatars(images: Tensor, batch_size: int = 64) -> PartMasks:
    """Parts that the segmenter of avatars finds in images [N,3,R,R] in -1..1. InputError when its weights are missing."""
    network = load_avatar_segmenter(device=images.device)
    masks = torch.cat([network.parts(part) for part in images.split(batch_size)]).cpu()
    return PartMasks(masks, tuple(network.names), segmenter_score())


def segmenter_score() -> str:
    """One clause with the segmenter's held-out score."""
    record = read_record(SEGMENTER_FILE)
    scores = {key: value for key, value in record.items() if key.startswith("held_out")}
    found = [f"{value['mean_iou']:.2f} at {key.split('_')[-1]} px" for key, value in scores.items() if "mean_iou" in value]
    return "segmenter of avatars" + (f" (mean IoU on unseen avatars {', '.join(found)})" if found else "")


def load_masks(path: Path, num_images: int, resolution: int) -> PartMasks:
    """An .npz with masks [N,R,R] of integers and names [K]. InputError naming the file and what is wrong."""
    arrays = read_npz(path, ["masks", "names"])
    masks, names = arrays["masks"], [str(name) for name in arrays["names"].reshape(-1)]
    wanted = (num_images, resolution, resolution)
    if masks.shape != wanted or not np.issubdtype(masks.dtype, np.integer):
        raise InputError(f"{path}: masks must be integers of shape {wanted}, got {masks.dtype} {masks.shape}")
    if masks.min() < 0 or masks.max() >= len(names):
        raise InputError(f"{path}: masks must be 0 to {len(names) - 1}, an index into names, got {masks.max()}")
    return PartMasks(torch.from_numpy(masks.astype(np.int64)), tuple(names), str(path))
