"""Each transform of ADA's pipeline against numpy and scipy in float64, on draws that the test chooses."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from sarigan.training.augmentation.ada import ada
from sarigan.training.augmentation.config import ADA, PRESETS
from sarigan.training.augmentation.filtering import filter_bank, filtered
from sarigan.training.augmentation.geometry import BORDER, MARGIN, SYM6, resampled
from sarigan.training.augmentation.image_random import ImageRandom

SIZE, COUNT = 24, 6
P = torch.tensor(0.6, dtype=torch.float64)
LUMA = np.ones(3) / math.sqrt(3)


class Recorded(ImageRandom):
    """Draws of a seed, in the order in which they were asked for."""

    def __init__(self, seed: int, count: int = COUNT) -> None:
        super().__init__(torch.Generator().manual_seed(seed), count, slice(None), torch.float64)
        self.draws: list[np.ndarray] = []

    def uniform(self) -> Tensor:
        self.draws.append(super().uniform().numpy())
        return torch.from_numpy(self.draws[-1])

    def normal(self, *shape: int) -> Tensor:
        self.draws.append(super().normal(*shape).numpy())
        return torch.from_numpy(self.draws[-1])


def images(seed: int = 0, size: int = SIZE, count: int = COUNT) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (count, 3, size, size)))


def augmented(name: str, seed: int = 8) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Images, the same after one transform at p = 0.6, and the draws; some images were chosen, and some were not."""
    random, before = Recorded(seed), images()
    after = ada(before, (name,), random, P)
    assert 0 < (random.draws[0] < 0.6).sum() < COUNT
    return before.numpy(), after.numpy(), random.draws


@pytest.mark.parametrize("name", [*ADA, *PRESETS])
def test_identity_at_p_0_is_bitwise(name: str) -> None:
    before = images().float()
    random = ImageRandom(torch.Generator().manual_seed(3), COUNT, slice(None), torch.float32)
    assert torch.equal(ada(before, PRESETS.get(name, (name,)), random, torch.tensor(0.0)), before)


@pytest.mark.parametrize("name", [name for name in ADA if name != "imgfilter"])
def test_images_that_are_not_chosen_stay_as_they_are(name: str) -> None:
    before, after, draws = augmented(name)
    chosen = draws[0] < 0.6
    if name == "rotate":
        chosen = (draws[0] < 1 - math.sqrt(0.4)) | (draws[2] < 1 - math.sqrt(0.4))
    assert np.array_equal(after[~chosen], before[~chosen])
    assert name in ("xflip", "rotate90", "xint", "lumaflip") or all((after != before)[chosen].any(axis=(1, 2, 3)))


def test_mirror_and_quarter_turns_are_copies() -> None:
    before, after, (chosen, coin) = augmented("xflip")
    for x, y, c, u in zip(before, after, chosen, coin, strict=True):
        assert np.array_equal(y, x[:, :, ::-1] if c < 0.6 and u < 0.5 else x)
    before, after, (chosen, quarter) = augmented("rotate90")
    turns = [int(4 * u) if c < 0.6 else 0 for c, u in zip(chosen, quarter, strict=True)]
    assert len(set(turns)) > 2
    for x, y, k in zip(before, after, turns, strict=True):
        assert np.array_equal(y, np.rot90(x, k, axes=(1, 2)))


def test_whole_shifts_are_copies_of_the_mirrored_image() -> None:
    before, after, (chosen, x_draw, y_draw) = augmented("xint")
    for x, y, c, u, v in zip(before, after, chosen, x_draw, y_draw, strict=True):
        right, down = (round((2 * d - 1) * 0.125 * SIZE) if c < 0.6 else 0 for d in (u, v))
        wide = np.pad(x, ((0, 0), (5, 5), (5, 5)), mode="reflect")
        assert np.array_equal(y, wide[:, 5 - down : 5 - down + SIZE, 5 - right : 5 - right + SIZE])


def reference(image: np.ndarray, inverse: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """image [C,R,R] resampled by scipy out of a wide mirrored image, and where all samples come from near the image."""
    pad, taps = SIZE - 1, np.array(SYM6)
    wide = np.pad(image, ((0, 0), (pad, pad), (pad, pad)), mode="reflect")
    for axis in (1, 2):
        wide = scipy.signal.upfirdn(math.sqrt(2) * taps, wide, up=2, axis=axis)
    # upfirdn's sample m sees pixel i through tap m - 2i; the centre of the filter is where its mean is.
    centre = (np.arange(12) * taps).sum() / taps.sum()
    place = (np.arange(-MARGIN, 2 * SIZE + MARGIN) + 5 - centre) / 2 - (SIZE - 1) / 2
    columns, rows = np.meshgrid(place, place)
    where = inverse @ np.stack([columns.ravel(), rows.ravel(), np.ones(columns.size)])
    column, row = (where[i].reshape(columns.shape) + (SIZE - 1) / 2 for i in (0, 1))
    at = [2 * (x + pad) + centre for x in (row, column)]
    sampled = np.stack([scipy.ndimage.map_coordinates(channel, at, order=1, mode="nearest") for channel in wide])
    near = (np.stack([row, column]) >= -BORDER).all(0) & (np.stack([row, column]) <= SIZE - 1 + BORDER).all(0)
    for axis in (1, 2):
        sampled = scipy.signal.upfirdn(taps[::-1] / math.sqrt(2), sampled, down=1, axis=axis)
        sampled = sampled.take(range(11, 2 * SIZE + 11, 2), axis=axis)
    near = scipy.ndimage.minimum_filter(near.astype(int), size=12)[6 : 2 * SIZE + 5 : 2, 6 : 2 * SIZE + 5 : 2]
    return sampled, near.astype(bool)


def rotation(angle: float) -> np.ndarray:
    return np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])


def inverses(name: str, draws: list[np.ndarray], p: float) -> list[np.ndarray]:
    """The map from places of the result to places of the image, by the paper's definitions, of every image."""
    p_rotate = 1 - math.sqrt(1 - p)
    found = []
    for image in zip(*draws, strict=True):
        if name == "rotate":
            (c, u, d, v) = image
            angle = (2 * u - 1) * math.pi * (c < p_rotate) + (2 * v - 1) * math.pi * (d < p_rotate)
            found.append(rotation(angle))
        elif name == "xfrac":
            c, shift = image
            found.append(np.array([[1, 0, -0.125 * SIZE * shift[0]], [0, 1, -0.125 * SIZE * shift[1]], [0, 0, 1]]))
            found[-1] = found[-1] if c < p else np.eye(3)
        else:
            c, z = image
            factor = 2 ** (0.2 * z * (c < p))
            found.append(np.diag([1 / factor, 1 / factor if name == "scale" else factor, 1]))
    return found


@pytest.mark.parametrize("name", ["scale", "rotate", "aniso", "xfrac"])
def test_geometry_against_scipy(name: str) -> None:
    before, after, draws = augmented(name)
    compared = 0
    for x, y, inverse in zip(before, after, inverses(name, draws, 0.6), strict=True):
        expected, near = reference(x, inverse)
        assert np.abs(y - expected)[:, near].max() < 1e-10
        compared += near.sum() * (not np.array_equal(inverse, np.eye(3)))
    assert compared > 400


def test_geometry_beyond_the_edges_is_the_mirrored_image() -> None:
    """There sym6, which is not quite symmetric, sees the image mirrored: equal within a few grey levels on a smooth image."""
    rows, columns = np.mgrid[:SIZE, :SIZE] / SIZE
    x = np.stack([np.cos(3 * columns + 2 * rows), rows * columns, columns])
    inverse = rotation(0.7) @ np.diag([1.5, 1.5, 1])
    y = resampled(torch.from_numpy(x)[None], torch.from_numpy(inverse)[None])[0].numpy()
    expected, near = reference(x, inverse)
    assert not near.all() and np.abs(y - expected).max() < 0.03


def test_geometric_transforms_act_in_their_order() -> None:
    """All four in one resampling: scale first, then rotation, aniso, rotation and shift, as maps of the image."""
    random, before = Recorded(5), images()
    after = ada(before, PRESETS["geom"], random, torch.tensor(1.0, dtype=torch.float64)).numpy()
    draws = random.draws
    for index in range(COUNT):
        one = [draw[index : index + 1] for draw in draws]
        scale = inverses("scale", one[:2], 1)[0]
        first, second = (rotation((2 * float(one[i][0]) - 1) * math.pi) for i in (3, 7))
        aniso, shift = inverses("aniso", one[4:6], 1)[0], inverses("xfrac", one[8:10], 1)[0]
        forward = [np.linalg.inv(matrix) for matrix in (scale, first, aniso, second, shift)]
        inverse = np.linalg.inv(forward[4] @ forward[3] @ forward[2] @ forward[1] @ forward[0])
        expected, near = reference(before[index].numpy(), inverse)
        assert near.any() and np.abs(after[index] - expected)[:, near].max() < 1e-10


def test_a_wave_is_resampled_where_it_should_be() -> None:
    """An analytic image: sampled at the inverse places, away from the edges."""
    rows, columns = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2

    def wave(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.cos(0.35 * x + 0.2 * y + 0.4)

    inverse = rotation(0.4) @ np.array([[0.9, 0, 1.3], [0, 1.1, -0.7], [0, 0, 1]])
    before = torch.from_numpy(wave(columns, rows))[None, None].expand(1, 3, -1, -1)
    after = resampled(before, torch.from_numpy(inverse)[None])[0, 0].numpy()
    x, y, _ = inverse @ np.stack([columns.ravel(), rows.ravel(), np.ones(rows.size)])
    expected = wave(x, y).reshape(SIZE, SIZE)
    assert np.abs(after - expected)[6:-6, 6:-6].max() < 0.006


def test_resampling_by_nothing_is_exact_also_at_the_edges() -> None:
    before = images()
    assert (resampled(before, torch.eye(3, dtype=torch.float64).expand(COUNT, 3, 3)) - before).abs().max() < 1e-10


def test_sym6_is_the_wavelet() -> None:
    """Orthogonal to its even shifts, of unit norm; six vanishing moments of the high-pass filter that belongs to it."""
    taps = np.array(SYM6)
    assert [abs(taps[2 * k :] @ taps[: 12 - 2 * k] - (k == 0)) < 1e-10 for k in range(6)] == [True] * 6
    high, where = taps * (-1.0) ** np.arange(12), (np.arange(12) - 5.5) / 5.5
    assert max(abs((high * where**k).sum()) for k in range(6)) < 1e-7 < abs((high * where**6).sum())


def color_reference(name: str, draws: list[np.ndarray], x: np.ndarray, index: int) -> np.ndarray:
    """x [3,H,W]."""
    value = draws[1][index]
    flat = x.reshape(3, -1).T
    along = (flat @ LUMA)[:, None] * LUMA
    if name == "brightness":
        changed = flat + 0.2 * value
    elif name == "contrast":
        changed = flat * 2 ** (0.5 * value)
    elif name == "lumaflip":
        changed = flat - 2 * along if value < 0.5 else flat
    elif name == "hue":
        changed = Rotation.from_rotvec((2 * value - 1) * math.pi * LUMA).apply(flat)
    else:
        changed = along + (flat - along) * 2**value
    return changed.T.reshape(x.shape)


@pytest.mark.parametrize("name", PRESETS["color"])
def test_colors_against_numpy(name: str) -> None:
    before, after, draws = augmented(name)
    for index in np.flatnonzero(draws[0] < 0.6):
        assert np.abs(after[index] - color_reference(name, draws, before[index], index)).max() < 1e-12


def test_color_transforms_act_in_their_order() -> None:
    random, before = Recorded(7), images()
    after = ada(before, PRESETS["color"], random, torch.tensor(1.0, dtype=torch.float64)).numpy()
    for index in range(COUNT):
        x = before[index].numpy()
        for number, name in enumerate(PRESETS["color"]):
            x = color_reference(name, random.draws[2 * number :], x, index)
        assert np.abs(after[index] - x).max() < 1e-12


def test_bands_are_those_of_the_half_band_filter() -> None:
    """P(w) = cos^4(w/2) (1 + 2 sin^2(w/2)), Daubechies' half-band filter of two moments; the bands add up to 1."""
    bank, w = filter_bank(), np.linspace(0, np.pi, 50)

    def low(w: np.ndarray) -> np.ndarray:
        return np.cos(w / 2) ** 4 * (1 + 2 * np.sin(w / 2) ** 2)

    expected = [low(w) * low(2 * w) * low(4 * w), low(w) * low(2 * w) * (1 - low(4 * w)), low(w) * (1 - low(2 * w)), 1 - low(w)]
    middle = bank.shape[1] // 2
    response = [sum(row[middle + k] * np.cos(k * w) for k in range(-middle, middle + 1)) for row in bank]
    assert np.abs(np.array(response) - np.array(expected)).max() < 1e-12
    assert np.abs(bank.sum(0) - (np.arange(bank.shape[1]) == middle)).max() < 1e-12


def test_filtering_against_scipy() -> None:
    before, random = images(), Recorded(2)
    after = ada(before, ("imgfilter",), random, P).numpy()
    power = np.array([10, 1, 1, 1]) / 13
    for index in range(COUNT):
        weights = np.ones(4)
        for band in range(4):
            one = np.ones(4)
            if random.draws[2 * band][index] < 0.6:
                one[band] = 2 ** random.draws[2 * band + 1][index]
            weights *= one / math.sqrt((power * one**2).sum())
        expected = before[index].numpy()
        for axis in (1, 2):
            expected = scipy.ndimage.convolve1d(expected, weights @ filter_bank(), axis=axis, mode="mirror")
        assert np.abs(after[index] - expected).max() < 1e-10


def test_equal_bands_change_nothing() -> None:
    before = images(size=8)  # smaller than the filter
    assert (filtered(before, torch.ones(COUNT, 4, dtype=torch.float64)) - before).abs().max() < 1e-12


def test_noise_and_cutout_against_loops() -> None:
    before, after, (chosen, deviation, noise) = augmented("noise")
    scale = np.where(chosen < 0.6, 0.1 * np.abs(deviation), 0)
    assert np.abs(after - before - scale[:, None, None, None] * noise).max() < 1e-12
    before, after, (chosen, x_draw, y_draw) = augmented("cutout")
    for index in range(COUNT):
        for row in range(SIZE):
            for column in range(SIZE):
                inside = abs((column + 0.5) / SIZE - x_draw[index]) < 0.25 and abs((row + 0.5) / SIZE - y_draw[index]) < 0.25
                expected = 0 if inside and chosen[index] < 0.6 else before[index, :, row, column]
                assert np.all(after[index, :, row, column] == expected)


@pytest.mark.parametrize("name", ADA)
def test_first_and_second_derivatives(name: str) -> None:
    """R1 on augmented images differentiates its gradient once more."""
    x = images(4, 6, 2).requires_grad_(True)

    def squared(x: Tensor) -> Tensor:
        return ada(x, (name,), Recorded(8, 2), torch.tensor(1.0, dtype=torch.float64)).square()

    assert torch.autograd.gradcheck(squared, (x,), fast_mode=True)
    assert torch.autograd.gradgradcheck(squared, (x,), fast_mode=True)


def corner(images: Tensor) -> Tensor:
    """In which corner an image is bright, counter-clockwise from the top left: [N]."""
    return torch.stack([images[:, 0, 0, 0], images[:, 0, -1, 0], images[:, 0, -1, -1], images[:, 0, 0, -1]], 1).argmax(1)


def bright_corner(states: Tensor) -> Tensor:
    found = -torch.ones(len(states), 3, 4, 4)
    for state, (row, column) in enumerate(((0, 0), (-1, 0), (-1, -1), (0, -1))):
        found[states == state, :, row, column] = 1
    return found


@pytest.mark.parametrize("p", [0.3, 0.79, 1.0])
def test_quarter_turns_leak_only_at_p_1(p: float) -> None:
    """On four images that are turned into each other, rotate90 mixes with T = (1 - p) I + p / 4: invertible below p = 1.

    So of two distributions of images only the right one explains what the discriminator sees; at p = 1 any does.
    """
    count, transition = 40_000, (1 - p) * np.eye(4) + p / 4
    planted = np.array([0.6, 0.25, 0.15, 0.0])

    def seen(states: Tensor, apply: Callable[..., Tensor] = ada) -> np.ndarray:
        random = ImageRandom(torch.Generator().manual_seed(len(states)), len(states), slice(None), torch.float32)
        after = corner(apply(bright_corner(states), ("rotate90",), random, torch.tensor(p)))
        return np.bincount(after.numpy(), minlength=4) / len(states)

    for state in range(4):
        assert np.abs(seen(torch.full((count,), state)) - transition[state]).max() < 0.015
    drawn = torch.from_numpy(np.random.default_rng(0).choice(4, count, p=planted))
    if p < 1:
        assert np.abs(np.linalg.solve(transition.T, seen(drawn)) - planted).max() < 0.05
    else:
        assert np.linalg.matrix_rank(transition) == 1 and np.abs(seen(drawn) - 0.25).max() < 0.015


def test_draws_of_a_batch_do_not_depend_on_its_cut() -> None:
    x = images().float()
    whole, *parts = (
        ada(x[part], ADA, ImageRandom(torch.Generator().manual_seed(4), COUNT, part, torch.float32), torch.tensor(0.7))
        for part in (slice(None), slice(0, None, 2), slice(1, None, 2))
    )
    for index, part in enumerate(parts):
        assert torch.allclose(whole[index::2], part, atol=1e-6)
