"""Training of the two networks that read avatars, and their held-out scores. Data are drawn as they are needed.

Generated images are not as clean as avatars are: some training images lose detail (scaled down and up again) and get
noise, so that the networks keep their judgement there.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sarigan.data.avatars.attributes import BINARY_ATTRIBUTES, binary_labels
from sarigan.data.avatars.dataset import PART_NAMES, AvatarDataset
from sarigan.errors import InputError, require_at_least_1
from sarigan.models.feature_networks.avatar_networks import RESOLUTION, AvatarClassifier, AvatarSegmenter
from sarigan.progress import progress_bar
from sarigan.seeding import check_seed

HELD_OUT_SEED = 1_000_003  # avatars of this seed are never trained on


@dataclass(frozen=True)
class AvatarTrainingConfig:
    """How one of the networks is trained."""

    num_images: int = 100_000
    batch_size: int = 64
    learning_rate: float = 3e-3
    degraded_share: float = 0.5  # of the training images
    seed: int = 1
    num_held_out: int = 2000

    def __post_init__(self) -> None:
        require_at_least_1(self, "num_images", "batch_size", "num_held_out")
        check_seed("seed", self.seed)
        if self.seed == HELD_OUT_SEED:
            raise InputError(f"seed must not be {HELD_OUT_SEED}, the seed of the held-out avatars")


@dataclass
class AvatarBatch:
    """Avatars with their truth."""

    images: Tensor  # [N,3,R,R] in [-1,1]
    parts: Tensor  # int64 [N,R,R]
    labels: Tensor  # float32 [N,A], 0 or 1


def avatar_batches(dataset: AvatarDataset, batch_size: int) -> Iterator[AvatarBatch]:
    """The avatars of a data set in order, the last batch perhaps smaller."""
    for start in range(0, len(dataset), batch_size):
        samples = [dataset.sample(index) for index in range(start, min(start + batch_size, len(dataset)))]
        yield AvatarBatch(
            torch.from_numpy(np.stack([image for image, _, _ in samples])).float() / 127.5 - 1,
            torch.from_numpy(np.stack([mask for _, mask, _ in samples])).long(),
            torch.from_numpy(np.stack([binary_labels(attributes) for _, _, attributes in samples])).float(),
        )


def train_avatar_classifier(config: AvatarTrainingConfig) -> tuple[AvatarClassifier, dict[str, Any]]:
    """A trained classifier of `BINARY_ATTRIBUTES` and its held-out scores, at 64 and at 32 pixels."""
    torch.manual_seed(config.seed)
    network = AvatarClassifier(list(BINARY_ATTRIBUTES))
    _train(network, config, lambda b: F.binary_cross_entropy_with_logits(network(b.images), b.labels), "classifier")
    return network, {f"held_out_{size}": score_classifier(network, size, config.num_held_out) for size in (RESOLUTION, 32)}


def train_avatar_segmenter(config: AvatarTrainingConfig) -> tuple[AvatarSegmenter, dict[str, Any]]:
    """A trained segmenter of `PART_NAMES` and its held-out scores, at 64 and at 32 pixels."""
    torch.manual_seed(config.seed)
    network = AvatarSegmenter(list(PART_NAMES))
    _train(network, config, lambda b: segmentation_loss(network(b.images), b.parts), "segmenter")
    return network, {f"held_out_{size}": score_segmenter(network, size, config.num_held_out) for size in (RESOLUTION, 32)}


@torch.no_grad()
def score_classifier(
    network: AvatarClassifier, resolution: int = RESOLUTION, num_images: int = 2000, seed: int = HELD_OUT_SEED
) -> dict[str, Any]:
    """Accuracy on avatars of `seed`: mean, per attribute, mean balanced accuracy, and that of the commoner class alone."""
    right, truth = [], []
    for batch in avatar_batches(AvatarDataset(resolution, num_images, seed), 100):
        right.append((network(batch.images) > 0) == (batch.labels > 0))
        truth.append(batch.labels > 0)
    hits, positive = torch.cat(right).double(), torch.cat(truth).double()
    accuracy, share = hits.mean(dim=0), positive.mean(dim=0)
    of_positive = (hits * positive).sum(dim=0) / positive.sum(dim=0)
    of_negative = (hits * (1 - positive)).sum(dim=0) / (1 - positive).sum(dim=0)
    return {
        "mean_accuracy": round(float(accuracy.mean()), 4),
        "mean_balanced_accuracy": round(float((of_positive + of_negative).mean()) / 2, 4),
        "mean_of_commoner_class": round(float(torch.maximum(share, 1 - share).mean()), 4),
        "accuracy": {name: round(float(value), 4) for name, value in zip(network.names, accuracy, strict=True)},
        "num_images": num_images,
        "seed": seed,
    }


@torch.no_grad()
def score_segmenter(
    network: AvatarSegmenter, resolution: int = RESOLUTION, num_images: int = 2000, seed: int = HELD_OUT_SEED
) -> dict[str, Any]:
    """Intersection over union on avatars of `seed`, counted over all pixels: mean, per part, and the share of right pixels."""
    count = len(network.names)
    table = torch.zeros(count, count, dtype=torch.int64)
    for batch in avatar_batches(AvatarDataset(resolution, num_images, seed), 50):
        pairs = batch.parts * count + network.parts(batch.images)
        table += torch.bincount(pairs.flatten(), minlength=count * count).reshape(count, count)
    inside = table.diagonal().double()
    iou = inside / (table.sum(dim=0) + table.sum(dim=1) - table.diagonal())
    return {
        "mean_iou": round(float(iou.mean()), 4),
        "pixel_accuracy": round(float(inside.sum() / table.sum()), 4),
        "iou": {name: round(float(value), 4) for name, value in zip(network.names, iou, strict=True)},
        "num_images": num_images,
        "seed": seed,
    }


def segmentation_loss(logits: Tensor, parts: Tensor) -> Tensor:
    """Cross-entropy plus the mean over parts of 1 - soft Dice (Milletari et al. 2016), to which a small part is as large.

    logits [N,K,R,R], parts [N,R,R]; a part that is nowhere in the batch does not count.
    """
    probability = logits.softmax(dim=1).transpose(0, 1).flatten(start_dim=1)
    truth = F.one_hot(parts.flatten(), logits.shape[1]).t().to(logits.dtype)
    size = truth.sum(dim=1)
    dice = 2 * (probability * truth).sum(dim=1) / (probability.sum(dim=1) + size)
    return F.cross_entropy(logits, parts) + (1 - dice)[size > 0].mean()


def _train(network: nn.Module, config: AvatarTrainingConfig, loss_of: Callable[[AvatarBatch], Tensor], title: str) -> None:
    """Adam with a learning rate that warms up, then falls along a cosine."""
    dataset = AvatarDataset(RESOLUTION, config.num_images, config.seed)
    steps = math.ceil(config.num_images / config.batch_size)
    optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=steps, pct_start=0.1)
    network.train()
    with progress_bar(total=config.num_images, desc=title, unit="img", dynamic_ncols=True, mininterval=0.5) as bar:
        for batch in avatar_batches(dataset, config.batch_size):
            batch.images = degrade(batch.images, config.degraded_share)
            loss = loss_of(batch)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            bar.update(len(batch.images))
            bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    network.eval().requires_grad_(False)


def degrade(images: Tensor, share: float) -> Tensor:
    """A share of the images [N,3,H,W] scaled down (to 3/8 of the size at least) and up again, and with noise."""
    n, _, height, width = images.shape
    small = int(torch.randint(3 * height // 8, height, ()))
    size = (small, max(1, round(small * width / height)))
    blurred = F.interpolate(images, size=size, mode="bilinear", antialias=True, align_corners=False)
    blurred = F.interpolate(blurred, size=(height, width), mode="bilinear", align_corners=False)
    noisy = blurred + torch.rand(n, 1, 1, 1) * 0.15 * torch.randn_like(images)
    return torch.where(torch.rand(n, 1, 1, 1) < share, noisy, images)
