"""Whether images made from layouts show them: a segmenter's answer on generated images beside its answer on the real ones.

Mean IoU and pixel accuracy are those of all pixels together, void left out. The same segmenter on the real images of the same
layouts is the bound: `relative` is the ratio of the two.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from sarigan import distributed
from sarigan.data.avatars.attributes import CHOICES
from sarigan.data.avatars.dataset import PART_NAMES
from sarigan.data.batch import Batch, to_signed_float
from sarigan.errors import InputError
from sarigan.metrics.class_control import PALETTES, color_reader
from sarigan.metrics.evaluation import Evaluation, Metric, Result
from sarigan.models.feature_networks.avatar_networks import SEGMENTER_FILE, load_avatar_segmenter, read_record
from sarigan.models.feature_networks.feature_network import to_uint8
from sarigan.models.feature_networks.layout_segmenter import load_layout_segmenter

AVATARS = "avatars"


class LayoutSamples(Protocol):
    """What these metrics ask of images made from layouts, beside what an `ImageSet` has."""

    num_classes: int  # labels from here on are void
    segmenter: str | None  # `avatars`, the file of a segmenter, or none
    has_encoder: bool

    def __len__(self) -> int: ...

    def layouts(self, positions: Sequence[int]) -> Batch:
        """The layouts int64 [N,H,W] of these positions, and their images uint8."""

    def in_own_styles(self, batch: Batch, positions: Sequence[int]) -> Tensor:
        """Images of the layouts of these positions, each in the style of its own that every metric judges it in."""

    def in_styles(self, batch: Batch, seeds: Sequence[int]) -> Tensor:
        """Images of a batch's layouts, each in the style of its seed."""

    def in_style_of(self, batch: Batch, references: Tensor) -> Tensor:
        """Images of a batch's layouts, each in the style of its reference, uint8 [N,3,H,W]."""


def layout_samples(evaluation: Evaluation, metric: str) -> Any:
    """The judged images; InputError when they are not made from layouts."""
    if not hasattr(evaluation.samples, "layouts"):
        raise InputError(f"{metric} needs a checkpoint of system: semantic_layout, whose images have layouts")
    return evaluation.samples


def confusion_matrix(wanted: Tensor, found: Tensor, num_classes: int) -> Tensor:
    """Pixels by (class of the layout, class that was found): float64 [K,K]. Labels from num_classes on are left out."""
    known = wanted < num_classes
    codes = wanted[known] * num_classes + found[known]
    return torch.bincount(codes, minlength=num_classes**2).reshape(num_classes, num_classes).double()


def class_ious(confusion: Tensor) -> Tensor:
    """Intersection over union of each class; NaN for a class that is neither wanted nor found: float64 [K]."""
    common = confusion.diagonal()
    return common / (confusion.sum(dim=0) + confusion.sum(dim=1) - common)


def pixel_accuracy(confusion: Tensor) -> float:
    """Share of the pixels whose class was found."""
    return float(confusion.diagonal().sum() / confusion.sum())


def open_segmenter(source: str, device: torch.device) -> tuple[Any, str, str]:
    """The segmenter, its name and its SHA-256. InputError when its file is missing."""
    if source == AVATARS:
        return load_avatar_segmenter(device=device), "avatar_segmenter", read_record(SEGMENTER_FILE)["sha256"]
    network = load_layout_segmenter(source, device)
    return network, "layout_segmenter", read_record(source)["sha256"]


class LayoutFidelity(Metric):
    """Mean IoU and pixel accuracy of a segmenter on generated images, beside those on the real images."""

    name = "layout_fidelity"
    summary = "of layouts: mean IoU and pixel accuracy of a segmenter on generated images, beside the same on real ones"
    needs_data = False

    def add_arguments(self, add: Callable[..., Any]) -> None:
        add("--segmenter", help="file of scripts/train_segmenter.py; default: held_out.segmenter, of avatars the built-in one")

    def check(self, evaluation: Evaluation) -> None:
        self._segmenter(evaluation)

    def _segmenter(self, evaluation: Evaluation) -> tuple[Any, str, str]:
        samples: LayoutSamples = layout_samples(evaluation, self.name)
        source = evaluation.arguments.get("segmenter") or samples.segmenter
        if source is None:
            raise InputError(
                f"{self.name} needs a segmenter of these classes: train one with scripts/train_segmenter.py, and name it with"
                " --segmenter or held_out.segmenter"
            )
        network, name, digest = open_segmenter(str(source), evaluation.device)
        if len(network.names) != samples.num_classes:
            raise InputError(
                f"{source}: the segmenter knows {len(network.names)} classes, the layouts have {samples.num_classes}"
            )
        return network, name, digest

    @torch.no_grad()
    def compute(self, evaluation: Evaluation) -> Iterator[Result]:
        samples: LayoutSamples = layout_samples(evaluation, self.name)
        network, name, digest = self._segmenter(evaluation)
        size, count, device = evaluation.config.batch_size, samples.num_classes, evaluation.device
        tables = {kind: torch.zeros(count, count, dtype=torch.float64) for kind in ("generated", "real")}
        starts = range(0, len(samples), size)[distributed.rank() :: distributed.world_size()]
        parts = [list(range(start, min(start + size, len(samples)))) for start in starts]
        advance = evaluation.progress(len(samples), self.name)
        for positions in parts:
            batch = samples.layouts(positions)
            assert batch.layout is not None
            made = to_uint8(samples.in_own_styles(batch, positions))
            for kind, images in (("generated", made), ("real", batch.images)):
                found = network.parts(to_signed_float(images.to(device))).cpu()
                tables[kind] += confusion_matrix(batch.layout, found, count)
            advance(len(positions))
        tables = {kind: distributed.sum_over_ranks(table) for kind, table in tables.items()}
        ious = {kind: class_ious(table) for kind, table in tables.items()}
        protocol = f"segmenter {name} on {len(samples)} held-out layouts"
        for metric, values in (
            ("layout_miou", {kind: float(iou.nanmean()) for kind, iou in ious.items()}),
            ("layout_pixel_accuracy", {kind: pixel_accuracy(table) for kind, table in tables.items()}),
        ):
            relative = values["generated"] / values["real"] if values["real"] else math.nan
            details: dict[str, Any] = {"real": values["real"], "relative": None if math.isnan(relative) else relative}
            if metric == "layout_miou":
                details["classes"] = {
                    kind: {n: None if v != v else v for n, v in zip(network.names, iou.tolist(), strict=True)}
                    for kind, iou in ious.items()
                }
            text = f"{protocol}; real images {values['real']:.4f}"
            yield Result(metric, values["generated"], text, None, name, digest, details, higher_is_better=True)
            yield Result(f"{metric}_relative", relative, f"{text}, ratio", None, name, digest, higher_is_better=True)


NUM_STYLES = 8
NUM_LAYOUTS = 32


class StyleDiversity(Metric):
    """How unlike images of one layout in several styles are: mean |difference| of pixels, in no network's features.

    A perceptual loss would have trained the features that a perceptual distance judges.
    """

    name = "style_diversity"
    summary = "of layouts: mean difference of pixels, as a share of their range, of pairs of images of one layout in 8 styles"
    needs_data = False

    def check(self, evaluation: Evaluation) -> None:
        layout_samples(evaluation, self.name)

    @torch.no_grad()
    def compute(self, evaluation: Evaluation) -> Iterator[Result]:
        samples: LayoutSamples = layout_samples(evaluation, self.name)
        count = min(NUM_LAYOUTS, len(samples))
        means = []
        for position in range(count):
            batch = samples.layouts([position] * NUM_STYLES)
            images = samples.in_styles(batch, range(NUM_STYLES)).float().clamp(-1, 1).to(evaluation.device)
            pairs = torch.tensor(list(itertools.combinations(range(NUM_STYLES), 2)))
            means.append(float((images[pairs[:, 0]] - images[pairs[:, 1]]).abs().mean()) / 2)
        value = sum(means) / len(means)
        protocol = f"{count} layouts in {NUM_STYLES} styles, mean difference of pixels as a share of their range"
        yield Result("style_diversity", value, protocol, higher_is_better=True)


class StyleTransfer(Metric):
    """How often an image in the style of a reference has the reference's colours, read as `class_control` reads them."""

    name = "style_transfer"
    summary = "of layouts of avatars: how often skin, hair and other colours are those of the reference image"
    needs_data = False

    def check(self, evaluation: Evaluation) -> None:
        samples: LayoutSamples = layout_samples(evaluation, self.name)
        if not samples.has_encoder or samples.segmenter != AVATARS or samples.num_classes != len(PART_NAMES):
            raise InputError(f"{self.name} needs layouts of avatars and generator.style=encoder")

    @torch.no_grad()
    def compute(self, evaluation: Evaluation) -> Iterator[Result]:
        samples: LayoutSamples = layout_samples(evaluation, self.name)
        size, device, total = evaluation.config.batch_size, evaluation.device, len(samples)
        readers = {}
        for field in PALETTES:
            reader = color_reader(field, [*CHOICES[field]], device)
            assert reader is not None
            readers[field] = reader
        hits = {field: torch.zeros(3, dtype=torch.float64) for field in readers}  # transferred, by chance, both parts are there
        advance = evaluation.progress(total, self.name)
        for start in range(0, total, size):
            positions = range(start, min(start + size, total))
            batch = samples.layouts(positions)
            references = samples.layouts([total - 1 - position for position in positions]).images
            made = to_signed_float(to_uint8(samples.in_style_of(batch, references)).to(device))
            wanted = to_signed_float(references.to(device))
            for field, reader in readers.items():
                found, right = reader(made), reader(wanted)
                there = found.any(dim=1) & right.any(dim=1)
                own = reader(to_signed_float(batch.images.to(device)))
                hits[field] += torch.stack(
                    [((found & right).any(dim=1) & there).sum(), ((own & right).any(dim=1) & there).sum(), there.sum()]
                ).cpu()
            advance(len(positions))
        for field, (right_ones, by_chance, count) in hits.items():
            chance = float(by_chance / count)
            text = f"{int(count)} pairs of a layout and another image's style; equal without transfer {chance:.3f}"
            yield Result(f"style_transfer_{field}", float(right_ones / count), text, None, "avatar_segmenter",
                         read_record(SEGMENTER_FILE)["sha256"], {"chance": chance}, higher_is_better=True)  # fmt: skip
