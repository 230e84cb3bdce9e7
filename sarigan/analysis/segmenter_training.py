"""Training of a small segmenter on a set's own layouts, the judge of `layout_fidelity`, and its score on held-out images.

The recipe is that of the segmenter of avatars: cross-entropy and soft Dice, some images blurred and noisy, because generated
images are not as clean as photographs.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sarigan.analysis.avatar_training import degrade
from sarigan.data.batch import to_signed_float
from sarigan.data.layouts.config import LayoutDataConfig
from sarigan.data.loader import read_sample, training_batches
from sarigan.errors import require_at_least_1
from sarigan.metrics.layout_fidelity import class_ious, confusion_matrix, pixel_accuracy
from sarigan.models.feature_networks.layout_segmenter import MULTIPLE, LayoutSegmenter
from sarigan.progress import progress_bar
from sarigan.seeding import check_seed

MAX_SIDE = 256  # pixels at which it works


@dataclass(frozen=True)
class SegmenterTrainingConfig:
    """How a segmenter is trained."""

    num_images: int = 30_000  # seen, not different
    batch_size: int = 16
    learning_rate: float = 3e-3
    degraded_share: float = 0.5
    widths: tuple[int, ...] = (32, 64, 96, 128)
    seed: int = 1

    def __post_init__(self) -> None:
        require_at_least_1(self, "num_images", "batch_size")
        check_seed("seed", self.seed)


def working_size(size: tuple[int, int]) -> tuple[int, int]:
    """Height and width at which images of `size` are read: their own, at most 256 px, rounded to multiples of 16."""
    scale = min(1.0, MAX_SIDE / max(size))
    height, width = (max(MULTIPLE, round(side * scale / MULTIPLE) * MULTIPLE) for side in size)
    return height, width


def train_segmenter(
    dataset: Any, data: LayoutDataConfig, names: list[str], size: tuple[int, int], config: SegmenterTrainingConfig
) -> LayoutSegmenter:
    """A segmenter of `names`, trained on images and layouts of a set, mirrored and cut as in training."""
    torch.manual_seed(config.seed)
    network = LayoutSegmenter(names, config.widths, working_size(size))
    steps = -(-config.num_images // config.batch_size)
    optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=max(steps, 2), pct_start=0.1)
    network.train()
    batches = training_batches(dataset, data, config.seed, 0, config.batch_size)
    with progress_bar(total=steps * config.batch_size, desc="segmenter", unit="img", dynamic_ncols=True) as bar:
        for _ in range(steps):
            batch = next(batches)
            assert batch.layout is not None
            images = network.resized(degrade(to_signed_float(batch.images), config.degraded_share))
            layout = F.interpolate(batch.layout[:, None].float(), size=network.size, mode="nearest")[:, 0].long()
            loss = segmentation_loss(network(images), layout)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            bar.update(len(images))
            bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    batches.close()
    return network.eval().requires_grad_(False)


def segmentation_loss(logits: Tensor, layout: Tensor) -> Tensor:
    """Cross-entropy plus the mean over classes of 1 - soft Dice; labels from K on are void and left out.

    logits [N,K,H,W], layout int64 [N,H,W]. A class that is nowhere in the batch does not count.
    """
    known = layout < logits.shape[1]
    chosen, truth = logits.permute(0, 2, 3, 1)[known], layout[known]
    probability, marks = chosen.softmax(dim=1), F.one_hot(truth, logits.shape[1]).to(logits.dtype)
    size = marks.sum(dim=0)
    dice = 2 * (probability * marks).sum(dim=0) / (probability.sum(dim=0) + size).clamp_min(1e-8)
    return F.cross_entropy(chosen, truth) + (1 - dice)[size > 0].mean()


@torch.no_grad()
def score_segmenter(network: LayoutSegmenter, dataset: Any, count: int) -> dict[str, Any]:
    """Mean IoU, pixel accuracy and the IoU of each class on the first `count` images of a set; None: in no image."""
    classes = len(network.names)
    table = torch.zeros(classes, classes, dtype=torch.float64)
    for index in range(count):
        sample = read_sample(dataset, index)
        image, layout = (torch.from_numpy(np.array(sample[name]))[None] for name in ("images", "layout"))
        table += confusion_matrix(layout, network.parts(to_signed_float(image)), classes)
    iou = class_ious(table)
    return {
        "mean_iou": round(float(iou.nanmean()), 4),
        "pixel_accuracy": round(pixel_accuracy(table), 4),
        "iou": {
            name: None if value != value else round(value, 4) for name, value in zip(network.names, iou.tolist(), strict=True)
        },
        "num_images": count,
    }
