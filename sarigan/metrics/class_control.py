"""Whether images of an avatar generator show the class that was asked for, read by the built-in avatar networks.

Attributes: a class decides some of the classifier's 17 binary attributes (black hair: dark, neither light nor red). An image is
right when the classifier says of all of them what holds for most avatars of the class. Several classes may look alike to it.
Colour: for classes that are colours of a part, the nearest colour of the palette to the median of the pixels that the segmenter
gives to the part. An avatar without the part (no hair) counts as wrong. Real images bound both from above, chance from below.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from sarigan import distributed
from sarigan.data.avatars.attributes import (
    BACKGROUND_COLORS,
    BINARY_ATTRIBUTES,
    CHOICES,
    CLOTHES_COLORS,
    HAIR_COLORS,
    SKIN_COLORS,
    AvatarAttributes,
    binary_labels,
    draw_attributes,
)
from sarigan.data.avatars.dataset import PART_NAMES
from sarigan.data.labels import label_source
from sarigan.errors import InputError
from sarigan.metrics.class_distance import ClassImages, real_images_of_class, require_classes
from sarigan.metrics.evaluation import Evaluation, Metric, Result
from sarigan.metrics.feature_statistics import ImageSet
from sarigan.models.feature_networks.avatar_networks import (
    CLASSIFIER_FILE,
    SEGMENTER_FILE,
    load_avatar_classifier,
    load_avatar_segmenter,
    read_record,
)
from sarigan.models.feature_networks.feature_network import to_uint8

Reader = Callable[[Tensor], Tensor]  # images [N,3,R,R] in -1..1 -> which classes each may be, bool [N,K]
PALETTES = {
    "hair_color": ("hair", HAIR_COLORS), "skin_color": ("skin", SKIN_COLORS), "clothes_color": ("clothes", CLOTHES_COLORS),
    "background_color": ("background", BACKGROUND_COLORS),
}  # fmt: skip
NUM_DRAWN = 400  # avatars a class, for what a class decides
DECIDED = 0.5  # an attribute's frequency differs by so much at least between two classes


def with_choice(attributes: AvatarAttributes, field: str, value: str) -> AvatarAttributes:
    """The same avatar with another value of one field of `CHOICES`."""
    changes: dict[str, Any] = {field: value}
    if field in ("hair", "glasses", "beard"):
        changes[f"has_{field}"] = value != "none"
    return dataclasses.replace(attributes, **changes)


def decided_attributes(field: str, values: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Indices [D] of the binary attributes that classes of this field decide, and what holds for each class, bool [K,D]."""
    drawn = [draw_attributes(0, index) for index in range(NUM_DRAWN)]
    frequencies = torch.stack(
        [
            torch.stack([torch.from_numpy(binary_labels(with_choice(a, field, value))) for a in drawn]).double().mean(dim=0)
            for value in values
        ]
    )
    decided = (frequencies.amax(dim=0) - frequencies.amin(dim=0) > DECIDED).nonzero()[:, 0]
    return decided, frequencies[:, decided] > 0.5


def attribute_reader(field: str, values: Sequence[str], device: torch.device) -> Reader | None:
    """By the classifier's binary attributes; None where classes of this field decide none."""
    decided, expected = (found.to(device) for found in decided_attributes(field, values))
    classifier = load_avatar_classifier(device=device)
    assert classifier.names == [*BINARY_ATTRIBUTES]
    if not len(decided):
        return None
    return lambda images: (((classifier(images)[:, decided] > 0)[:, None]) == expected[None]).all(dim=2)


def color_reader(field: str, values: Sequence[str], device: torch.device) -> Reader | None:
    """By the colour of a part; None for a field that is no colour of a part."""
    if field not in PALETTES:
        return None
    part, palette = PALETTES[field]
    segmenter, number = load_avatar_segmenter(device=device), PART_NAMES.index(part)
    colors = torch.tensor([palette[value] for value in values], dtype=torch.float32, device=device) / 127.5 - 1

    def read(images: Tensor) -> Tensor:
        found = torch.zeros(len(images), len(values), dtype=torch.bool, device=device)
        for row, (image, mask) in enumerate(zip(images, segmenter.parts(images) == number, strict=True)):
            if mask.any():
                middle = image[:, mask].median(dim=1).values
                found[row, (colors - middle).square().sum(dim=1).argmin()] = True
        return found

    return read


def class_readers(field: str, values: Sequence[str], device: torch.device) -> dict[str, Reader]:
    """All that read classes of this field; InputError for a field of which the networks read nothing."""
    makers: dict[str, Any] = {"attributes": attribute_reader, "color": color_reader}
    readers = {kind: reader for kind, make in makers.items() if (reader := make(field, values, device)) is not None}
    if not readers:
        raise InputError(f"the avatar networks read nothing that data.labels={field} decides")
    return readers


class ClassControl(Metric):
    """Share of generated images, equally many a class, that show their class."""

    name = "class_control"
    summary = "of avatars: how many images show the class asked for, read by the avatar networks, beside real images and chance"
    needs_generator = True

    def check(self, evaluation: Evaluation) -> None:
        names = require_classes(evaluation, self.name)
        field = label_source(evaluation.data)
        if field not in CHOICES or set(names) != set(CHOICES[field]):
            raise InputError(f"{self.name} needs the classes of an avatar attribute (data.labels=hair_color), got {field!r}")

    def compute(self, evaluation: Evaluation) -> Iterator[Result]:
        generator, config, device = evaluation.require_generator(), evaluation.config, evaluation.device
        names, field = generator.config.class_names, label_source(evaluation.data)
        readers = class_readers(field, names, device)
        advance = evaluation.progress(len(evaluation.real_images) + config.num_images, self.name)
        count = max(1, config.num_images // len(names))
        psi = config.truncation_psi
        fakes = [ClassImages(generator, label, count, config.seed, psi) for label in range(len(names))]
        reals = [real_images_of_class(evaluation, label) for label in range(len(names))]
        setting = (readers, len(names), config.batch_size, device, advance)
        made, real = ([class_hits(images, *setting) for images in sets] for sets in (fakes, reals))
        for kind in readers:
            table = torch.stack([hits[kind] for hits in made]) / count  # [K asked for, K read]
            own = table.diagonal()
            of_reals = [hits[kind][label] / max(1, len(reals[label])) for label, hits in enumerate(real)]
            file = CLASSIFIER_FILE if kind == "attributes" else SEGMENTER_FILE
            details = {
                "classes": dict(zip(names, own.tolist(), strict=True)),
                "real": float(torch.stack(of_reals).mean()),
                "chance": float(table.mean()),
            }
            protocol = f"{count} images of each of {len(names)} classes; real images {details['real']:.3f}, chance"
            yield Result(
                f"{self.name}_{kind}", float(own.mean()), f"{protocol} {details['chance']:.3f}", None, file.stem,
                read_record(file)["sha256"], details, higher_is_better=True,
            )  # fmt: skip


@torch.no_grad()
def class_hits(
    images: ImageSet, readers: dict[str, Reader], num_classes: int, batch_size: int, device: torch.device,
    advance: Callable[[int], None],
) -> dict[str, Tensor]:  # fmt: skip
    """By reader, how many of the images may be each class: float64 [K] on the CPU. Processes share the images."""
    starts = range(0, len(images), batch_size)[distributed.rank() :: distributed.world_size()]
    batches = [list(range(start, min(start + batch_size, len(images)))) for start in starts]
    totals = {kind: torch.zeros(num_classes, device=device) for kind in readers}
    for positions, batch in zip(batches, images.batches(batches, device), strict=True):
        pixels = (batch if batch.dtype == torch.uint8 else to_uint8(batch)).float() / 127.5 - 1
        for kind, reader in readers.items():
            totals[kind] += reader(pixels).sum(dim=0)
        advance(len(positions))
    return {kind: distributed.sum_over_ranks(total).cpu().double() for kind, total in totals.items()}
