"""A system that no room of the house knows: it trains, stops, goes on, is evaluated and reported, from this file alone."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from stopped_runs import stopped_at
from torch import Tensor, nn

from sarigan.config import load_config
from sarigan.data.batch import Batch, stack
from sarigan.data.loader import DataConfig, training_batches
from sarigan.diagnosis.scaling import checkpoint_size, count_step
from sarigan.errors import InputError
from sarigan.files.checkpoint import list_checkpoints, load_checkpoint
from sarigan.files.run_record import read_run
from sarigan.models.ema import ExponentialMovingAverage
from sarigan.pretrained import load_generator, load_system
from sarigan.runs.run import train
from sarigan.runs.summary import dry_run_report
from sarigan.seeding import derive_seed
from sarigan.systems.registry import SYSTEMS
from sarigan.systems.system import Curves, Phase, Scalars, Shard, System
from sarigan.training.precision import Precision
from sarigan.training.run_config import RunConfig
from sarigan.training.state import TrainingState
from sarigan.visualization.report.page import Section
from sarigan.visualization.report.run_sections import write_report


@dataclass(frozen=True)
class PaletteSection:
    """Of the toy: how many colours it learns."""

    num_colors: int = 3
    learning_rate: float = 0.05


@dataclass(frozen=True)
class PaletteConfig(RunConfig):
    """Learns flat colours near those of the training images."""

    ARCHITECTURE: ClassVar[tuple[str, ...]] = ("palette.num_colors",)

    palette: PaletteSection = field(default_factory=PaletteSection)

    @property
    def resolution(self) -> int:
        return 16

    def build(self, precision: Precision) -> "PaletteSystem":
        return PaletteSystem(self, precision)

    def tiny(self) -> "PaletteConfig":
        return self


@dataclass
class Jitter:
    """Random inputs: one number a sample."""

    values: Tensor  # [N]

    def __len__(self) -> int:
        return len(self.values)

    def shard(self, index: int, num_shards: int) -> "Jitter":
        return Jitter(self.values[index::num_shards])


class Palette(nn.Module):
    """x [N,3] -> its nearest colour, softly: [N,3]."""

    def __init__(self, num_colors: int) -> None:
        super().__init__()
        self.colors = nn.Parameter(torch.linspace(-0.5, 0.5, num_colors * 3).reshape(num_colors, 3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(-10 * torch.cdist(x, self.colors), dim=1) @ self.colors


class Flats:
    """Flat images of the learnt colours, in turn: an `ImageSet`."""

    title, resolution = "flat colours", 16

    def __init__(self, palette: Palette, count: int = 24) -> None:
        self.palette, self.count = palette, count

    def __len__(self) -> int:
        return self.count

    def batches(self, positions: Sequence[Sequence[int]], device: torch.device) -> Iterator[Tensor]:
        for batch in positions:
            colors = self.palette.colors.detach()[[position % len(self.palette.colors) for position in batch]]
            yield colors[:, :, None, None].expand(-1, -1, 16, 16).to(device)


class PaletteSystem(System):
    resolution = 16

    def __init__(self, config: PaletteConfig, precision: Precision) -> None:
        self.config, self.precision = config, precision
        palette = precision.place(Palette(config.palette.num_colors))
        self.networks, self.replicas = {"palette": palette}, {"palette": palette}
        self.averages = {"ema_palette": ExponentialMovingAverage(palette)}
        optimizer = torch.optim.Adam(palette.parameters(), lr=config.palette.learning_rate, fused=True)
        self.optimizers = {"optimizer": optimizer}
        self.tensors = {"steps": torch.zeros(())}
        batch_size = config.training.batch_size
        self.phases = [
            Phase("colors", self.loss, "palette", list(palette.parameters()), optimizer, batch_size=batch_size,
                  draw=self.draw, needs_real_images=True, after=self.count)
        ]  # fmt: skip

    def draw(self, phase: str, step: int, batch_size: int, attempt: int) -> Jitter:
        seed = derive_seed(self.config.training.seed, phase, step, attempt)
        return Jitter(torch.randn(batch_size, generator=torch.Generator().manual_seed(seed)))

    def loss(self, shard: Shard) -> tuple[Tensor, Scalars]:
        assert shard.batch is not None
        mean = shard.batch.images.mean(dim=(2, 3)) + 0.01 * shard.draws.values[:, None]
        loss = (self.replicas["palette"](mean) - mean).square().mean()
        return loss, {"loss/colors": loss.detach()}

    def count(self, scalars: Scalars) -> None:
        self.tensors["steps"].add_(1)

    def sample_images(self, num_images: int, batch_size: int) -> Iterator[Tensor]:
        yield from Flats(self.averages["ema_palette"].module).batches([range(num_images)], self.precision.device)

    def evaluation_inputs(self) -> dict[str, Any]:
        return {"samples": Flats(self.averages["ema_palette"].module)}

    def report_sections(self) -> list[Callable[[], Section]]:
        return [lambda: Section("palette", "The palette", f"<p>{self.config.palette.num_colors} colours</p>")]

    def report_curves(self) -> list[Curves]:
        return [Curves("How far from a colour", {"colors": "loss/colors"})]


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch, png_folder: Path) -> Callable[..., RunConfig]:
    monkeypatch.setitem(SYSTEMS, "palette", PaletteConfig)

    def build(*overrides: str) -> RunConfig:
        return load_config(None, [
            "system=palette", "data.name=folder", f"data.path={png_folder}", "data.num_workers=0", "training.batch_size=8",
            "training.total_kimg=0.16", "training.tick_kimg=0.04", "training.num_samples=4", "training.device=cpu",
            "training.precision=float32", *overrides,
        ])  # fmt: skip

    return build


def test_trains_logs_samples_and_is_described(config: Callable[..., RunConfig], tmp_path: Path) -> None:
    trainer = train(config(), tmp_path)
    losses = [value for _, value in read_run(tmp_path).series("loss/colors")]
    assert len(losses) == 4 and losses[-1] < losses[0]
    assert trainer.system.tensors["steps"] == 20
    with Image.open(sorted((tmp_path / "samples").glob("*.png"))[-1]) as grid:
        assert grid.width == grid.height
    report = dry_run_report(config(), TrainingState(config(), trainer.state.precision), "data")
    assert "palette" in report and "num_colors: 3" in report
    assert count_step(config()).parameters == {"palette": 9}
    assert checkpoint_size(config()) == 4 * (3 * 9 + 9)


def test_stopped_and_resumed_it_is_bit_identical(config: Callable[..., RunConfig], tmp_path: Path) -> None:
    train(config(), tmp_path / "whole")
    with stopped_at(9):
        stopped = train(config(), tmp_path / "parts")
        assert 9 <= stopped.state.step < 20
    train(config(), tmp_path / "parts")
    one, two = (load_checkpoint(list_checkpoints(tmp_path / name / "checkpoints")[-1]) for name in ("whole", "parts"))
    assert one["step"] == two["step"] == 20 and one["steps"] == two["steps"] == 20
    assert torch.equal(one["palette"]["colors"], two["palette"]["colors"])
    assert torch.equal(one["ema_palette"]["colors"], two["ema_palette"]["colors"])
    with pytest.raises(InputError, match=r"another architecture; it differs in palette.num_colors \(3 there, 4 here\)"):
        train(config("palette.num_colors=4"), tmp_path / "parts")


def test_evaluated_and_reported(config: Callable[..., RunConfig], tmp_path: Path) -> None:
    metrics = ("metrics.names=[kid_efficientnet]", "metrics.num_images=24", "metrics.interval_kimg=100")
    train(config(*metrics), tmp_path)
    system, loaded = load_system(tmp_path)
    run = read_run(tmp_path)
    assert len(run.series("metrics/kid_efficientnet")) == 2  # before the first step and at the end
    size = write_report(run, loaded.method(), loaded.resolution, system, "checkpoint", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert size == len(page.encode())
    assert "How far from a colour" in page and "<p>3 colours</p>" in page and "<dd>palette</dd>" in page
    with pytest.raises(InputError, match="holds a system 'palette'; this needs a style-based generator"):
        load_generator(tmp_path)


def test_unknown_systems_and_foreign_sections(config: Callable[..., RunConfig]) -> None:
    names = "style, inpainting, two_stage_inpainting, class_conditional, semantic_layout, single_image, palette"
    with pytest.raises(InputError, match=f"system=none.: system must be one of {names}, got .none."):
        load_config(None, ["system=palette", "system=none"])
    with pytest.raises(InputError, match="generator"):
        config("generator.resolution=8")
    with pytest.raises(InputError, match="palette"):
        load_config(None, ["palette.num_colors=4"])


def test_labels_layout_and_mask_travel_with_the_images() -> None:
    """From the data set to a shard; mirrored with the image, a label excepted."""

    class Labelled:
        resolution = 4

        def __len__(self) -> int:
            return 6

        def __getitem__(self, index: int) -> np.ndarray:
            return np.broadcast_to(np.arange(4, dtype=np.uint8) + 10 * index, (3, 4, 4))

        def extras(self, index: int) -> dict[str, Any]:
            layout = np.broadcast_to(np.arange(4, dtype=np.int64), (4, 4))
            return {"labels": np.int64(index), "layout": layout, "mask": (layout < 2)[None]}

        def describe(self) -> str:
            return "labelled"

    batches = training_batches(Labelled(), DataConfig(flip=True, num_workers=0), seed=1, position=0, batch_size=6)
    batch = next(batches)
    mirrored = batch.images[:, 0, 0, 0] > batch.images[:, 0, 0, 3]
    assert mirrored.any() and not mirrored.all()
    assert torch.equal(batch.images.amin(dim=(1, 2, 3)) // 10, batch.labels)
    assert torch.equal(batch.layout[:, 0, 0] == 3, mirrored) and torch.equal(~batch.mask[:, 0, 0, 0], mirrored)
    first, second = batch.to_device(torch.device("cpu"), torch.float64, torch.contiguous_format).chunk(2)
    assert first.images.dtype == first.mask.dtype == torch.float64 and first.labels.dtype == torch.int64
    assert torch.equal(torch.cat([first.labels, second.labels]), batch.labels)
    assert stack([Batch(torch.ones(3, 4, 4)), Batch(torch.zeros(3, 4, 4))]).labels is None
    assert dataclasses.fields(Batch)[0].name == "images"
