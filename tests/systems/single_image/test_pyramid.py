"""The sizes of the scales are those of the published programs."""

import math

import pytest

from sarigan.errors import InputError
from sarigan.systems.single_image.pyramid import PyramidConfig


def test_sizes_of_the_original_plan() -> None:
    """166x250 and 256x256, as the published program makes them."""
    sizes = PyramidConfig(height=166, width=250).sizes()
    assert [f"{h}x{w}" for h, w in sizes] == (
        ["25x38", "32x48", "41x61", "51x77", "65x98", "82x123", "104x156", "132x198", "166x250"]
    )  # fmt: skip
    assert [h for h, w in PyramidConfig(height=256, width=256).sizes() if h == w] == [
        26, 33, 42, 54, 70, 90, 117, 150, 194, 250,
    ]  # fmt: skip


def test_sizes_of_consingan() -> None:
    sizes = PyramidConfig(num_scales=8, height=166, width=250).sizes()
    assert [f"{h}x{w}" for h, w in sizes] == ["26x38", "29x43", "34x50", "40x61", "51x77", "72x108", "127x191", "166x250"]


@pytest.mark.parametrize("num_scales", [None, 1, 2, 3, 6])
@pytest.mark.parametrize("shape", [(64, 96), (300, 180), (26, 250), (1000, 700)])
def test_sizes_grow_to_the_picture(num_scales: int | None, shape: tuple[int, int]) -> None:
    config = PyramidConfig(num_scales=num_scales, height=shape[0], width=shape[1])
    sizes = config.sizes()
    assert sizes[-1] == config.finest(*shape) and max(sizes[-1]) <= 250
    assert all(a <= b for below, above in zip(sizes, sizes[1:], strict=False) for a, b in zip(below, above, strict=True))
    assert num_scales == 1 or 25 <= min(sizes[0]) <= 26
    assert num_scales is None or len(sizes) == num_scales


def test_the_number_of_scales_follows_the_file_that_is_shrunk() -> None:
    """S - s2 + 1 with S and s2 of the published program, for files of any size."""
    for height in range(40, 900, 61):
        for width in range(40, 900, 37):
            if min(height, width) * min(250 / max(height, width), 1) < 30:
                continue
            wanted = math.ceil(math.log(25 / min(height, width)) / math.log(0.75)) + 1
            wanted -= math.ceil(math.log(min(250, max(height, width)) / max(height, width)) / math.log(0.75))
            assert len(PyramidConfig(height=height, width=width).sizes()) == max(wanted, 1) + 1


def test_a_picture_that_is_too_small() -> None:
    with pytest.raises(InputError, match=r"picture of 40x25 px is too small .* must be more than pyramid.min_size=25"):
        PyramidConfig().finest(25, 40)
    with pytest.raises(InputError, match=r"2000x100 px, 250x13 px within pyramid.max_size=250, is too small"):
        PyramidConfig().finest(100, 2000)
    assert PyramidConfig(num_scales=1).finest(25, 40) == (25, 40)


@pytest.mark.parametrize(
    "settings", [{"ratio": 1.0}, {"ratio": 0.0}, {"min_size": 3}, {"min_size": 300}, {"max_size": 9000}, {"num_scales": 0}]
)
def test_settings_that_make_no_sense(settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match=r"pyramid\."):
        PyramidConfig(**settings)  # type: ignore[arg-type]
