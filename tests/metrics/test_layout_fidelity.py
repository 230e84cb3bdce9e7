"""Mean IoU against loops, and the metrics of layouts on makers whose answer is known."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sarigan.data.batch import Batch
from sarigan.data.layouts.config import AvatarLayouts
from sarigan.errors import InputError
from sarigan.metrics import layout_fidelity
from sarigan.metrics.catalogue import evaluate, metrics_named
from sarigan.metrics.config import EvaluationConfig
from sarigan.metrics.evaluation import Evaluation
from sarigan.metrics.layout_fidelity import class_ious, confusion_matrix, pixel_accuracy


def test_confusion_and_iou_by_loops() -> None:
    random = np.random.default_rng(0)
    wanted, found = random.integers(0, 5, (3, 6, 7)), random.integers(0, 4, (3, 6, 7))  # 4 is void
    table = confusion_matrix(torch.from_numpy(wanted), torch.from_numpy(found), 4)
    for k in range(4):
        known = wanted < 4
        both = ((wanted == k) & (found == k) & known).sum()
        either = (((wanted == k) | (found == k)) & known).sum()
        assert float(class_ious(table)[k]) == pytest.approx(both / either)
    right = sum(int(w == f) for w, f in zip(wanted.flat, found.flat, strict=True) if w < 4)
    assert pixel_accuracy(table) == pytest.approx(right / int((wanted < 4).sum()))


def test_a_class_that_is_nowhere_does_not_count() -> None:
    table = confusion_matrix(torch.zeros(1, 2, 2, dtype=torch.int64), torch.zeros(1, 2, 2, dtype=torch.int64), 3)
    assert class_ious(table).tolist()[0] == 1 and class_ious(table)[1:].isnan().all()


class Copies:
    """Gives back the real images, or those of the reference: styles are copied, layouts are not."""

    title, resolution, num_classes, segmenter, has_encoder = "copies", 64, 10, "avatars", True

    def __init__(self, count: int = 12, shift: int = 0) -> None:
        self.dataset, self.shift = AvatarLayouts(64, count, seed=3), shift

    def __len__(self) -> int:
        return len(self.dataset)

    def layouts(self, positions: Sequence[int]) -> Batch:
        images = torch.from_numpy(np.stack([self.dataset[p] for p in positions]))
        return Batch(images, layout=torch.from_numpy(np.stack([self.dataset.extras(p)["layout"] for p in positions])))

    def batches(self, positions: Sequence[Sequence[int]], device: torch.device) -> Iterator[Tensor]:
        for part in positions:
            yield self.in_own_styles(self.layouts(part), part)

    def in_own_styles(self, batch: Batch, positions: Sequence[int]) -> Tensor:
        return self.layouts([(p + self.shift) % len(self) for p in positions]).images

    def in_styles(self, batch: Batch, seeds: Sequence[int]) -> Tensor:
        shades = torch.tensor([0.0 if self.shift else seed / 10 for seed in seeds])
        return batch.images / 127.5 - 1 - shades[:, None, None, None]

    def in_style_of(self, batch: Batch, references: Tensor) -> Tensor:
        return (references if self.shift else batch.images) / 127.5 - 1


def values(names: list[str], samples: Any) -> dict[str, Any]:
    evaluation = Evaluation(EvaluationConfig(batch_size=5), torch.device("cpu"), samples=samples)
    return {result.name: result for result in evaluate(evaluation, names).results}


def test_copies_reach_the_real_score_and_other_images_do_not() -> None:
    found = values(["layout_fidelity"], Copies())
    assert found["layout_miou_relative"].value == found["layout_pixel_accuracy_relative"].value == 1
    assert found["layout_miou"].value == found["layout_miou"].details["real"] > 0.8
    assert found["layout_pixel_accuracy"].value > 0.95 and "hair" in found["layout_miou"].details["classes"]["real"]
    others = values(["layout_fidelity"], Copies(shift=1))
    assert others["layout_miou_relative"].value < 0.7
    assert others["layout_miou"].details["real"] == found["layout_miou"].value


def test_styles() -> None:
    """A maker that copies the reference transfers everything; one that ignores it only what both have by chance."""
    moved, ignored = values(["style_transfer"], Copies(shift=1)), values(["style_transfer"], Copies())
    for field in ("skin_color", "hair_color"):
        assert moved[f"style_transfer_{field}"].value == 1
        assert ignored[f"style_transfer_{field}"].value == ignored[f"style_transfer_{field}"].details["chance"] < 0.8
    varied, same = (values(["style_diversity"], Copies(shift=s))["style_diversity"].value for s in (0, 1))
    assert varied > 0.001 and same < 1e-6


def test_a_segmenter_that_finds_nothing_real_gives_no_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    class Blind:
        names = [str(number) for number in range(10)]

        def parts(self, images: Tensor) -> Tensor:
            return torch.full(images.shape[-2:], 9).expand(len(images), -1, -1)

    monkeypatch.setattr(layout_fidelity, "open_segmenter", lambda *_: (Blind(), "blind", ""))
    samples = Copies(4)
    batch = Batch(torch.zeros(4, 3, 64, 64, dtype=torch.uint8), layout=torch.zeros(4, 64, 64, dtype=torch.int64))
    monkeypatch.setattr(samples, "layouts", lambda positions: batch)
    found = values(["layout_fidelity"], samples)
    assert found["layout_miou"].value == 0 and found["layout_miou"].details["relative"] is None
    assert math.isnan(found["layout_miou_relative"].value) and math.isnan(found["layout_pixel_accuracy_relative"].value)


def test_what_the_metrics_need() -> None:
    class Flat:
        title, resolution = "flat", 64

        def __len__(self) -> int:
            return 4

    for name in ("layout_fidelity", "style_diversity", "style_transfer"):
        with pytest.raises(InputError, match=f"{name} needs a checkpoint of system: semantic_layout"):
            values([name], Flat())
    other = Copies()
    other.segmenter = None
    with pytest.raises(
        InputError, match="layout_fidelity needs a segmenter of these classes: train one with scripts/train_seg"
    ):
        values(["layout_fidelity"], other)
    other.has_encoder = False
    with pytest.raises(InputError, match="style_transfer needs layouts of avatars and generator.style=encoder"):
        values(["style_transfer"], other)
    other.segmenter, other.num_classes = "avatars", 7
    with pytest.raises(InputError, match="avatars: the segmenter knows 10 classes, the layouts have 7"):
        values(["layout_fidelity"], other)
    other.segmenter = "nowhere.npz"
    with pytest.raises(InputError, match="nowhere.npz: no such file; scripts/train_segmenter.py makes one"):
        values(["layout_fidelity"], other)


def test_a_network_that_took_part_in_training_is_no_judge() -> None:
    judged = Copies()
    judged.training_network = "efficientnet"
    evaluation = Evaluation(EvaluationConfig(), torch.device("cpu"), samples=judged)
    with pytest.raises(InputError, match=r"efficientnet took part in the training of this model \(a perceptual loss\)"):
        metrics_named(["kid_efficientnet"])[0].check(evaluation)
