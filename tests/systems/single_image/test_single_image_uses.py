"""What a pyramid is used for: sizes, start scales, walks, masks. Weights are random; what is tested holds for any."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor

from sarigan.data.picture import resized
from sarigan.errors import InputError
from sarigan.seeding import derive_seed
from sarigan.systems.single_image import samples
from sarigan.systems.single_image.compositing import (
    EDIT_RADIUS,
    HARMONIZE_RADIUS,
    composed,
    read_reference,
    read_region,
    softened,
)
from sarigan.systems.single_image.draws import noise_maps
from sarigan.systems.single_image.generator import PyramidGenerator


@pytest.fixture(params=["zero", "noise"])
def generator(request: pytest.FixtureRequest, single_image_system: Callable) -> PyramidGenerator:
    """Three scales, up to 28x20 px, all of them begun, in float64."""
    found: PyramidGenerator = single_image_system(f"networks.padding={request.param}").generator
    found.num_begun.fill_(3)
    found.amplitudes.copy_(torch.tensor([1.0, 0.5, 0.25]))
    for parameter in found.parameters():
        parameter.data.normal_(0, 0.2)
    return found


@pytest.mark.parametrize("size", [None, (20, 28), (9, 60), (47, 11), (1, 1)])
@pytest.mark.parametrize("start", [0, 1, 2])
def test_samples_of_any_size_from_any_scale(generator: PyramidGenerator, size: tuple[int, int] | None, start: int) -> None:
    image = samples.random_sample(generator, 3, size, start)
    assert image.shape == (1, 3, *(size or (20, 28))) and image.isfinite().all()
    assert torch.equal(image, samples.random_sample(generator, 3, size, start))
    assert not torch.equal(image, samples.random_sample(generator, 4, size, start))


def test_scales_below_the_start_keep_the_layout(generator: PyramidGenerator) -> None:
    """Without noise from the start on, a sample is the reconstruction; of another size, the enlarged one goes in."""
    generator.amplitudes[1:] = 0
    for start in (1, 2):
        assert torch.allclose(samples.random_sample(generator, 0, None, start), generator.reconstruction(2), atol=1e-12)
    wide = samples.random_sample(generator, 0, (20, 56), 2)
    noise = torch.zeros(1, 3, *generator.noise_size((20, 56)), dtype=torch.float64)
    assert torch.allclose(wide, generator.evaluated([noise], resized(generator.reconstruction(1), (20, 56)), 2), atol=1e-12)


def test_sizes_of_the_scales_follow_the_wanted_size(generator: PyramidGenerator) -> None:
    assert samples.sizes_for(generator, None) == generator.sizes == [(11, 15), (15, 20), (20, 28)]
    assert samples.sizes_for(generator, (40, 28)) == [(22, 15), (30, 20), (40, 28)]
    generator.num_begun.fill_(2)
    assert samples.sizes_for(generator, None) == [(11, 15), (15, 20)]
    assert samples.random_sample(generator, 0).shape[-2:] == (15, 20)


def test_an_injected_image_enters_through_the_scale_before(generator: PyramidGenerator) -> None:
    """Its details below that scale's pixels are lost; the noise of the seed is on."""
    image = torch.rand(1, 3, 20, 28, dtype=torch.float64) * 2 - 1
    found = samples.injected(generator, image, 2, seed=5)
    noises = samples.random_noises(generator, 5, None, 2)
    assert torch.allclose(found, generator.evaluated(noises, resized(image, (15, 20)), 2), atol=1e-12)
    generator.amplitudes[2] = 0
    assert not torch.allclose(samples.injected(generator, image, 2, 5), found)
    for start in (0, 3, -1):
        with pytest.raises(InputError, match="--start-scale must be 1 to 2 .the finest., got"):
            samples.injected(generator, image, start, 0)


@pytest.mark.parametrize(("factor", "steps"), [(4.0, 6), (2.0, 3), (1.3, 1), (3.0, 5)])
def test_super_resolution_goes_in_steps_of_the_cube_root_of_two(
    factor: float, steps: int, generator: PyramidGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels, sizes = [], []
    evaluated = PyramidGenerator.evaluated

    def recorded(self: PyramidGenerator, noises: list[Tensor], image: Tensor, first: int) -> Tensor:
        made = evaluated(self, noises, image, first)
        levels.append(first)
        sizes.append(tuple(made.shape[-2:]))
        return made

    monkeypatch.setattr(PyramidGenerator, "evaluated", recorded)
    image = samples.super_resolved(generator, generator.picture, factor, seed=0)
    assert levels == [2] * steps
    assert sizes == [(round(20 * factor ** (k / steps)), round(28 * factor ** (k / steps))) for k in range(1, steps + 1)]
    assert image.shape[-2:] == sizes[-1] == (round(20 * factor), round(28 * factor))


@pytest.mark.parametrize("factor", [1.0, 0.5, 100.0, float("nan")])
def test_factors_that_make_no_sense(factor: float, generator: PyramidGenerator) -> None:
    with pytest.raises(InputError, match="--factor must be above 1 and at most 64"):
        samples.super_resolved(generator, generator.picture, factor, 0)


def test_an_image_beyond_memory_is_refused(generator: PyramidGenerator) -> None:
    with pytest.raises(InputError, match=r"height and width times --factor must be .* got 448000x320000"):
        samples.super_resolved(generator, generator.picture.expand(1, 3, 20, 28).repeat(1, 1, 250, 250), 64, 0)


def test_an_image_beyond_the_memory_of_the_machine_is_refused(
    generator: PyramidGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four maps of 4 float64 channels, with the margins."""
    needed = 4 * 8 * 4 * (20 + 6) * (28 + 6)
    monkeypatch.setattr(samples, "available_and_total_bytes", lambda: (needed - 1, 2**40))
    with pytest.raises(InputError, match=r"an image of 28x20 px takes about 0.0 GiB with 4 channels, .* are available"):
        samples.random_sample(generator, 0)
    with pytest.raises(InputError, match="ask for a smaller one"):
        samples.super_resolved(generator, generator.picture, 2, 0)
    monkeypatch.setattr(samples, "available_and_total_bytes", lambda: (needed, 2**40))
    samples.random_sample(generator, 0)


def test_an_animation_is_the_published_walk(generator: PyramidGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recursion in NumPy, float64, by the same draws."""
    seen: list[list[np.ndarray]] = []
    monkeypatch.setattr(PyramidGenerator, "evaluated", lambda self, noises, below, first: seen.append(
        [noise.numpy().copy() for noise in noises]))  # fmt: skip
    for start in (0, 1):
        seen.clear()
        monkeypatch.setattr(PyramidGenerator, "reconstruction", lambda self, level: torch.zeros(1, 3, *self.sizes[level]))
        list(samples.animation(generator, 4, start, alpha=0.2, beta=0.7, seed=9))
        random = torch.Generator().manual_seed(derive_seed("animation", 9))
        home = [noise.numpy() for noise in generator.reconstruction_noises(start, 3)]
        draws = [[n.double().numpy() for n in noise_maps([h.shape[-2:] for h in home], random, start)] for _ in range(5)]
        for scale, z in enumerate(home):
            walk = [z, 0.95 * z + 0.05 * draws[0][scale]]
            for t in range(1, 4):
                change = 0.7 * (walk[t] - walk[t - 1]) + 0.3 * draws[t][scale]
                walk.append(0.2 * z + 0.8 * (walk[t] + change))
            for frame in range(4):
                assert np.allclose(seen[frame][scale], walk[frame + 1], atol=1e-12)


def test_an_animation_holds_one_frame_at_a_time(generator: PyramidGenerator) -> None:
    """Frames are made as they are asked for, so their number costs no memory."""
    frames = samples.animation(generator, 10**9, 0, 0.1, 0.9, 0)
    first, second = next(frames), next(frames)
    assert first.shape == (1, 3, 20, 28) and not torch.equal(first, second)


def test_a_mask_is_grown_by_a_disk_and_blurred() -> None:
    """Against scipy's dilation and Gaussian filter."""
    region = torch.zeros(1, 1, 60, 70, dtype=torch.float64)
    region[..., 25:32, 30:41] = 1
    y, x = np.mgrid[-7:8, -7:8]
    grown = ndimage.binary_dilation(region[0, 0].numpy(), x**2 + y**2 <= 49).astype(float)
    expected = ndimage.gaussian_filter(grown, 5.0, mode="nearest", truncate=4.0)
    assert np.allclose(softened(region, 7)[0, 0].numpy(), expected, atol=1e-12)
    assert HARMONIZE_RADIUS == 7 and EDIT_RADIUS == 20


def test_outside_the_softened_mask_the_picture_stays_to_the_bit() -> None:
    original, changed = torch.rand(2, 1, 3, 80, 90) * 2 - 1
    region = torch.zeros(1, 1, 80, 90)
    region[..., 10:15, 10:15] = 1
    weight = softened(region, 7)
    result = composed(original, changed, weight)
    outside = (weight == 0).expand_as(original)
    assert outside.any() and torch.equal(result[outside], original[outside])
    assert torch.allclose(result, (1 - weight) * original + weight * changed, atol=1e-6)
    assert not torch.equal(result, original)


def save(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def test_references_and_masks_have_the_size_of_the_picture(generator: PyramidGenerator, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (20, 28, 3), dtype=np.uint8)
    found = read_reference(save(tmp_path / "a.png", pixels), generator, (40, 56))
    assert torch.equal(((found[0] + 1) * 127.5).round().byte().permute(1, 2, 0), torch.from_numpy(pixels))
    large = read_reference(save(tmp_path / "b.png", pixels.repeat(2, 0).repeat(2, 1)), generator, (40, 56))
    assert large.shape == (1, 3, 20, 28)
    mask = np.zeros((40, 56), dtype=np.uint8)
    mask[10:20, 10:30] = 255
    region = read_region(save(tmp_path / "m.png", mask), generator, (40, 56))
    assert torch.equal(region[0, 0] == 1, torch.from_numpy(mask[::2, ::2] == 255))
    other = save(tmp_path / "other.png", np.zeros((20, 27, 3), dtype=np.uint8))
    for read in (read_reference, read_region):
        with pytest.raises(InputError, match=r"other.png: is 27x20, the model's picture is 56x40 or 28x20"):
            read(other, generator, (40, 56))
    with pytest.raises(InputError, match="black.png: the mask has no white pixel"):
        read_region(save(tmp_path / "black.png", np.zeros((20, 28), dtype=np.uint8)), generator, (20, 28))
    with pytest.raises(InputError, match="grey.png: a mask is black and white, 100% of this one is grey"):
        read_region(save(tmp_path / "grey.png", np.full((20, 28), 128, dtype=np.uint8)), generator, (20, 28))
