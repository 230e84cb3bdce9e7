"""Do groups respond to parts? IoU of each group's strongest 5% of positions with each part, against random groups.

A_i(p) = 1/n_i sum_{C_i} |x_j(p)|, upsampled; T_i its (1 - tau)-quantile over all positions of all images;
IoU_ik = |A_i > T_i and M_k| / |A_i > T_i or M_k| (after Bau et al. 2017, Network Dissection).
The best part names a group, as a person does in the paper's Fig. 3.
Legend: N images, C channels, G groups, K parts, P = N*S*S positions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from sarigan.editing.rendering import record_layer_inputs
from sarigan.errors import InputError
from sarigan.files.reading import read_npz
from sarigan.metrics.groups.permutation_null import NullTest, null_test, random_partitions
from sarigan.models.feature_networks.avatar_networks import (
    SEGMENTER_FILE,
    SEGMENTER_TITLE,
    load_avatar_segmenter,
    read_record,
)
from sarigan.models.generator import Generator
from sarigan.progress import progress_bar

TAU = 0.05
AS_RANDOM = "(as random)"  # the mark of a group whose best part random groups match as well
MAX_SIDE = 64  # larger maps are compared at this size: a layer's features are coarse


@dataclass(frozen=True)
class PartMasks:
    """Which part each pixel shows, by the segmenter of avatars or from a file."""

    masks: Tensor  # int64 [N,R,R], an index into `names`
    names: tuple[str, ...]
    source: str  # for captions: the segmenter with its held-out score, or the file


def segmented_avatars(images: Tensor, batch_size: int = 64) -> PartMasks:
    """Parts that the segmenter of avatars finds in images [N,3,R,R] in -1..1. InputError when its weights are missing."""
    network = load_avatar_segmenter(device=images.device)
    masks = torch.cat([network.parts(part) for part in images.split(batch_size)]).cpu()
    return PartMasks(masks, tuple(network.names), segmenter_score())


def masks_of(source: str, images: Tensor) -> PartMasks:
    """Parts of images [N,3,R,R] by the segmenter (`avatars`), or as a file has them."""
    return segmented_avatars(images) if source == "avatars" else load_masks(Path(source), len(images), images.shape[-1])


def parts_named(parts: str, trained_on: str | None) -> str | None:
    """What names the parts of a model that was trained on `trained_on`: `avatars`, a file, or None for nothing.

    parts: what was asked for; `auto` is the segmenter of avatars for models of avatars alone.
    """
    if parts != "auto":
        return None if parts == "none" else parts
    return "avatars" if trained_on == "avatars" else None


def doubt(parts: str, trained_on: str | None) -> str | None:
    """One line where the segmenter of avatars was asked to read images of a model that was not trained on them."""
    if parts != "avatars" or trained_on == "avatars":
        return None
    return (
        f"the segmenter of avatars reads images of a model of {trained_on or 'unknown data'}: names of parts, and what follows"
        " from them, hold only if the images look like avatars"
    )


def segmenter_score() -> str:
    """One clause with the segmenter's held-out score."""
    record = read_record(SEGMENTER_FILE)
    scores = {key: value for key, value in record.items() if key.startswith("held_out")}
    found = [f"{value['mean_iou']:.2f} at {key.split('_')[-1]} px" for key, value in scores.items() if "mean_iou" in value]
    return SEGMENTER_TITLE + (f" (mean IoU on unseen avatars {', '.join(found)})" if found else "")


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


@dataclass
class PartIoU:
    """What one layer's groups respond to."""

    iou: Tensor  # [G,K]; rows of empty groups are 0
    occupied: Tensor  # bool [G]
    best: NullTest  # mean over groups of max over parts
    assigned: NullTest  # mean of the best one-to-one assignment (Hungarian)
    group_best: list[NullTest | None]  # max over parts of every group; None for an empty one


class IouScorer:
    """Scores any grouping on cached features [N,C,H,W] and masks int64 [N,R,R] of K parts, both on the CPU."""

    def __init__(self, features: Tensor, masks: Tensor, num_parts: int, absolute: bool = True, tau: float = TAU) -> None:
        side = min(masks.shape[-1], MAX_SIDE)
        if masks.shape[-1] != side:
            masks = F.interpolate(masks[:, None].float(), size=(side, side), mode="nearest")[:, 0].long()
        features = features.abs() if absolute else features
        if features.shape[-1] != side:
            features = F.interpolate(features.float(), size=(side, side), mode="bilinear", align_corners=False)
        self.features = features.permute(0, 2, 3, 1).flatten(end_dim=2).contiguous()  # [P,C]; means commute with upsampling
        self.parts = F.one_hot(masks.flatten(), num_parts).to(self.features.dtype)  # [P,K]
        self.part_sizes = self.parts.sum(dim=0)
        self.rank = max(1, len(self.features) - round(tau * len(self.features)))

    def __call__(self, groups: Tensor, num_groups: int) -> Tensor:
        """IoU [G,K] of the groups [C]; rows of empty groups are 0."""
        member = F.one_hot(groups, num_groups).to(self.features)
        sizes = member.sum(dim=0)
        response = (self.features @ (member / sizes.clamp_min(1))).t().contiguous()  # [G,P]
        # The value of this rank as torch.kthvalue has it, in a tenth of the time.
        thresholds = np.partition(response.numpy(), self.rank - 1, axis=1)[:, self.rank - 1, None]
        active = (response > torch.from_numpy(thresholds)).to(self.features)
        overlap = active @ self.parts
        union = active.sum(dim=1)[:, None] + self.part_sizes - overlap
        return torch.where(sizes[:, None] > 0, overlap / union.clamp_min(1), 0.0)

    def null(self, groups: Tensor, num_groups: int, num_permutations: int, show_progress: bool = False) -> Tensor:
        """IoU [P,G',K] of the G' occupied groups of random partitions of the sizes of groups [C]."""
        occupied = torch.bincount(groups, minlength=num_groups) > 0
        partitions = random_partitions(groups, num_permutations)
        bar = progress_bar(partitions, desc="permutations", disable=not show_progress)
        return torch.stack([self(partition, num_groups)[occupied] for partition in bar])


def part_iou(
    features: Tensor, masks: Tensor, num_parts: int, groups: Tensor, num_groups: int,
    num_permutations: int = 1000, absolute: bool = True, show_progress: bool = False,
) -> PartIoU:  # fmt: skip
    """IoU of groups [C] with parts, and its null over permutations of the channels. features [N,C,H,W], masks [N,R,R]."""
    scorer = IouScorer(features, masks, num_parts, absolute)
    null = scorer.null(groups, num_groups, num_permutations, show_progress)
    return iou_against(scorer(groups, num_groups), null, groups)


def iou_against(iou: Tensor, null: Tensor, groups: Tensor) -> PartIoU:
    """The tests of iou [G,K] of groups [C] against null [P,G',K] of random ones of equal sizes, G' of them occupied."""
    num_groups = len(iou)
    occupied = torch.bincount(groups, minlength=num_groups) > 0
    best = null.amax(dim=2).numpy()
    score = iou[occupied].amax(dim=1).numpy()
    assigned = np.array([_assignment_mean(table) for table in null.numpy()])
    places = occupied.nonzero().flatten().tolist()
    single: list[NullTest | None] = [None] * num_groups
    for column, group in enumerate(places):
        single[group] = null_test(float(score[column]), best[:, column])
    return PartIoU(
        iou,
        occupied,
        null_test(float(score.mean()), best.mean(axis=1)),
        null_test(_assignment_mean(iou[occupied].numpy()), assigned),
        single,
    )


def _assignment_mean(iou: np.ndarray) -> float:
    """Mean IoU of the one-to-one assignment of groups to parts that maximises it. iou [G,K]."""
    rows, columns = linear_sum_assignment(iou, maximize=True)
    return float(iou[rows, columns].mean())


@torch.no_grad()
def layer_features(generator: Generator, layers: Sequence[str], latents: Tensor, batch_size: int = 32) -> dict[str, Tensor]:
    """Inputs [N,C,H,W] of the layers' convolutions for latents [N,L,w_dim] under fixed noise, on the CPU."""
    parts: dict[str, list[Tensor]] = {name: [] for name in layers}
    with record_layer_inputs(generator, layers) as found:
        for part in latents.split(batch_size):
            generator.synthesize(part, "fixed")
            for name in layers:
                parts[name].append(found[name].float().cpu())
    return {name: torch.cat(chunks) for name, chunks in parts.items()}


def layer_part_iou(
    generator: Generator, layer: str, features: Tensor, masks: PartMasks, num_permutations: int = 1000,
    absolute: bool = True, show_progress: bool = False,
) -> PartIoU:  # fmt: skip
    """`part_iou` of the generator's own groups in a layer, features [N,C,H,W] of the images that the masks are of."""
    grouping = generator.grouped_layer(layer).grouping
    groups = grouping.membership().argmax(dim=1).cpu()
    return part_iou(
        features, masks.masks, len(masks.names), groups, grouping.num_groups, num_permutations, absolute, show_progress
    )


class PartLabel(NamedTuple):
    """The part that a group matches best."""

    text: str  # `hair 0.31`
    above_chance: bool  # random groups match their best part worse (p <= 0.05)


def best_parts(result: PartIoU, names: Sequence[str]) -> dict[int, PartLabel]:
    """The label of every group that holds channels."""
    labels = {}
    for group, test in enumerate(result.group_best):
        if test is not None:
            best = int(result.iou[group].argmax())
            labels[group] = PartLabel(f"{names[best]} {float(result.iou[group, best]):.2f}", test.above_chance)
    return labels


def best_labels(result: PartIoU, names: Sequence[str]) -> dict[int, str]:
    """`hair 0.31` for every group that holds channels, `hair 0.31 (as random)` where random groups do as well."""
    found = best_parts(result, names)
    return {group: text if above else f"{text} {AS_RANDOM}" for group, (text, above) in found.items()}
