"""Path length of generators whose path length is known."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sarigan.editing.seeds import slerp_direction
from sarigan.errors import InputError
from sarigan.metrics.feature_statistics import GeneratedImages
from sarigan.metrics.perceptual_path_length import (
    PathLengthConfig,
    between_percentiles,
    compared_pixels,
    perceptual_path_length,
)
from sarigan.seeding import derive_seed


class LinearGenerator:
    """w = A z, image = B w + noise, float64: every length has a closed form."""

    def __init__(self, a: Tensor, side: int = 4) -> None:
        self.a = a
        source = torch.Generator().manual_seed(1)
        self.b = torch.randn(a.shape[0], 3 * side * side, generator=source, dtype=torch.float64)
        self.config = SimpleNamespace(z_dim=a.shape[1], w_dim=a.shape[0], resolution=side)
        self.synthesis = SimpleNamespace(noise_shapes=lambda: [(side, side)])
        self.mean_latent, self.num_latents, self.side = torch.zeros(a.shape[0], dtype=torch.float64), 2, side

    def mapping(self, z: Tensor) -> Tensor:
        return z @ self.a.t()

    def synthesize(self, latents: Tensor, noise: list[Tensor]) -> Any:
        images = (latents[:, -1] @ self.b).reshape(-1, 3, self.side, self.side)
        return SimpleNamespace(images=images + noise[0])


class SquaredDistance:
    """sum (a - b)^2: the length of a straight path is exact."""

    name, suffix = "squared", "_squared"

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        return (a - b).square().sum(dim=(1, 2, 3))


def endpoints(generator: Any, count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    first = GeneratedImages(generator, count, seed).z(range(count))
    return first, GeneratedImages(generator, count, derive_seed("second end", seed)).z(range(count))


@pytest.fixture
def generator() -> LinearGenerator:
    return LinearGenerator(torch.randn(5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64))


@pytest.mark.parametrize("sampling", ["full", "end"])
def test_lerp_of_a_linear_generator(generator: LinearGenerator, sampling: str) -> None:
    """|B (w1 - w0)|^2 whatever t is; noise, being the same on both images, adds nothing."""
    config = PathLengthConfig("w", sampling, num_samples=40, batch_size=7)
    found = perceptual_path_length(generator, SquaredDistance(), config)
    z0, z1 = endpoints(generator, 40)
    exact = (((z1 - z0) @ generator.a.t()) @ generator.b).square().sum(dim=1).numpy()
    assert found.unfiltered == pytest.approx(exact.mean(), rel=1e-6)
    assert found.value == pytest.approx(np.sort(exact)[:].mean(), rel=1e-6)  # 40 samples: the percentiles are the extremes
    assert found.name == f"ppl_w_{sampling}_squared"


def test_the_face_crop_is_all_that_the_distance_sees() -> None:
    """Of 8x8 pixels rows 3-6 and columns 2-5: |B (w1 - w0)|^2 over those alone."""
    generator = LinearGenerator(torch.randn(5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64), side=8)
    found = perceptual_path_length(generator, SquaredDistance(), PathLengthConfig(num_samples=40, face_crop=True))
    z0, z1 = endpoints(generator, 40)
    middle = generator.b.reshape(5, 3, 8, 8)[:, :, 3:7, 2:6].flatten(start_dim=1)
    exact = (((z1 - z0) @ generator.a.t()) @ middle).square().sum(dim=1).numpy()
    assert found.unfiltered == pytest.approx(exact.mean(), rel=1e-6)


def test_what_lies_outside_the_percentiles_is_left_out(generator: LinearGenerator) -> None:
    """Of 300 lengths the three smallest and the three largest; the standard error is that of the mean of the others."""
    found = perceptual_path_length(generator, SquaredDistance(), PathLengthConfig(num_samples=300))
    z0, z1 = endpoints(generator, 300)
    exact = np.sort((((z1 - z0) @ generator.a.t()) @ generator.b).square().sum(dim=1).numpy())
    kept = exact[2:-2]  # places 2.99 and 296.01 of 0..299, outwards
    assert (found.num_kept, found.num_samples) == (len(kept), 300)
    assert found.value == pytest.approx(kept.mean(), rel=1e-6) and found.unfiltered == pytest.approx(exact.mean(), rel=1e-6)
    assert found.standard_error == pytest.approx(kept.std(ddof=1) / len(kept) ** 0.5, rel=1e-6)


@pytest.mark.parametrize("sampling", ["full", "end"])
def test_slerp_on_the_sphere(sampling: str) -> None:
    """With w = z and an isometry, the squared speed of slerp is the squared angle between the ends."""
    generator = LinearGenerator(torch.eye(6, dtype=torch.float64))
    generator.b = torch.linalg.qr(generator.b.t())[0].t()
    config = PathLengthConfig("z", sampling, num_samples=30, batch_size=8)
    found = perceptual_path_length(generator, SquaredDistance(), config)
    z0, z1 = (torch.nn.functional.normalize(z, dim=1) for z in endpoints(generator, 30))
    angle = torch.acos((z0 * z1).sum(dim=1))
    assert found.unfiltered == pytest.approx(float(angle.square().mean()), rel=1e-6)


def test_batch_size_and_processes_change_nothing(generator: LinearGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
    def length(batch_size: int) -> float:
        config = PathLengthConfig("z", "full", num_samples=20, batch_size=batch_size)
        return perceptual_path_length(generator, SquaredDistance(), config).value

    whole = length(20)
    assert length(3) == pytest.approx(whole, rel=1e-9)

    # Two processes, one after the other: their rows are disjoint and sum to the whole.
    tables: list[Tensor] = []
    module = "sarigan.metrics.latent_sampling.distributed"
    monkeypatch.setattr(f"{module}.world_size", lambda: 2)
    monkeypatch.setattr(f"{module}.gather_objects", lambda value: [value])
    monkeypatch.setattr(torch.distributed, "get_backend", lambda: "gloo")

    def record(table: Tensor) -> Tensor:
        tables.append(table.clone())
        return table + 1  # of no interest, but finite

    monkeypatch.setattr(f"{module}.sum_over_ranks", record)
    for rank in (0, 1):
        monkeypatch.setattr(f"{module}.rank", lambda rank=rank: rank)
        length(3)
    assert float((tables[0] * tables[1]).abs().max()) == 0
    assert float(between_percentiles((tables[0] + tables[1]).numpy()).mean()) == pytest.approx(whole, rel=1e-9)


def test_slerp_direction() -> None:
    a, b = torch.tensor([[2.0, 0.0]], dtype=torch.float64), torch.tensor([[0.0, 3.0]], dtype=torch.float64)
    third = slerp_direction(a, b, torch.tensor([[1 / 3]], dtype=torch.float64))
    torch.testing.assert_close(third, torch.tensor([[3**0.5 / 2, 0.5]], dtype=torch.float64))
    torch.testing.assert_close(slerp_direction(a, b, torch.ones(1, 1, dtype=torch.float64)), b / 3)


def test_percentiles_of_a_ramp() -> None:
    kept = between_percentiles(np.arange(1001.0))
    assert (kept.min(), kept.max()) == (10, 990)


def test_compared_pixels() -> None:
    """The face crop of 1024 pixels, averaged over 2x2; an image of 256 stays as it is."""
    images = torch.rand(1, 3, 1024, 1024)
    crop = images[:, :, 384:896, 256:768]
    expected = crop.reshape(1, 3, 256, 2, 256, 2).mean(dim=(3, 5))
    torch.testing.assert_close(compared_pixels(images, face_crop=True), expected)
    assert torch.equal(compared_pixels(images[:, :, :256, :256]), images[:, :, :256, :256])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"space": "x"}, "space must be z or w, got 'x'"),
        ({"sampling": "half"}, "sampling must be full or end"),
        ({"num_samples": 0}, "num_samples must be at least 1, got 0"),
        ({"epsilon": 0.0}, "epsilon must be between 0 and 1"),
    ],
)
def test_wrong_input(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PathLengthConfig(**fields)


def test_a_distance_that_is_not_finite(generator: LinearGenerator) -> None:
    class Broken(SquaredDistance):
        def __call__(self, a: Tensor, b: Tensor) -> Tensor:
            return super().__call__(a, b) * float("nan")

    with pytest.raises(InputError, match="distance of sample 0 is not finite"):
        perceptual_path_length(generator, Broken(), PathLengthConfig(num_samples=4))
