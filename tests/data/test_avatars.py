"""avatars: purity, attributes against their documented probabilities, pixels and masks against attributes and resvg."""

import hashlib
import io
import multiprocessing
import pickle
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from sarigan.data.avatars.attributes import (
    BACKGROUND_COLORS,
    CHOICES,
    CLOTHES_COLORS,
    GEOMETRY,
    GRADIENT_PROBABILITY,
    HAIR_COLORS,
    SKIN_COLORS,
)
from sarigan.data.avatars.dataset import PART_NAMES, RESOLUTIONS, VERSION, AvatarDataset
from sarigan.errors import InputError

PART = {name: number for number, name in enumerate(PART_NAMES)}
CENTERED = dict.fromkeys(GEOMETRY, 0) | {"scale_percent": 100}


def erode(region: np.ndarray) -> np.ndarray:
    """Pixels whose 3x3 neighbourhood lies in the region; beyond the border counts as region."""
    padded = np.pad(region, 1, constant_values=True)
    height, width = region.shape
    return np.all([padded[y : y + height, x : x + width] for y in range(3) for x in range(3)], axis=0)


def box_average(image: np.ndarray, factor: int) -> np.ndarray:
    channels, height, width = image.shape
    boxes = image.astype(np.float64).reshape(channels, height // factor, factor, width // factor, factor)
    return boxes.mean(axis=(2, 4))


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_an_image_depends_on_seed_and_index_alone(resolution: int) -> None:
    dataset = AvatarDataset(resolution, num_images=50, seed=3)
    state = np.random.get_state()[1].copy()  # noqa: NPY002 - the global state is the point
    forward = [dataset.sample(index) for index in range(6)]
    other = pickle.loads(pickle.dumps(AvatarDataset(resolution, num_images=60, seed=3)))
    for index in reversed(range(6)):
        image, mask, attributes = forward[index]
        assert image.shape == (3, resolution, resolution) and image.dtype == np.uint8
        assert mask.shape == (resolution, resolution) and mask.dtype == np.uint8
        np.testing.assert_array_equal(other[index], image)
        np.testing.assert_array_equal(other.mask(index), mask)
        assert other.attributes(index) == attributes
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert not np.array_equal(AvatarDataset(resolution, seed=4)[0], forward[0][0])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_see_the_same_images(method: str) -> None:
    dataset = AvatarDataset(64, num_images=8)
    here = [dataset[index] for index in range(8)]
    # No Pool: it ends by a signal, which a worker that is just being forked may lose, and then waits for ever.
    with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
        there = [*pool.map(dataset.__getitem__, range(8))]
    np.testing.assert_array_equal(there, here)


def test_pixels_are_frozen_within_a_version() -> None:
    """Caches and results refer to VERSION: who changes what (seed, index) shows raises it, then renews the digest."""
    digest = hashlib.sha256()
    for resolution in RESOLUTIONS:
        for index in range(4):
            image, mask, attributes = AvatarDataset(resolution, seed=1).sample(index)
            digest.update(image.tobytes() + mask.tobytes() + repr(attributes).encode())
    assert (VERSION, digest.hexdigest()[:16]) == (1, "51fc59270fd63b62")


def test_the_set_is_diverse() -> None:
    dataset = AvatarDataset(32)
    assert len({dataset[index].tobytes() for index in range(1000)}) == 1000


def test_frequencies_match_the_documented_probabilities() -> None:
    """Each count lies within five binomial standard deviations."""
    num_draws = 20_000
    drawn = [asdict(AvatarDataset(32, seed=11).attributes(index)) for index in range(num_draws)]
    tables: dict[str, dict] = {field: dict(table) for field, table in CHOICES.items()}
    tables |= {field: dict.fromkeys(values, 1 / len(values)) for field, values in GEOMETRY.items()}
    tables["background_gradient"] = {True: GRADIENT_PROBABILITY, False: 1 - GRADIENT_PROBABILITY}
    for field in ("hair", "glasses", "beard"):
        tables[f"has_{field}"] = {True: 1 - CHOICES[field]["none"], False: CHOICES[field]["none"]}
    assert set(tables) == set(drawn[0])
    for field, table in tables.items():
        assert sum(table.values()) == pytest.approx(1)
        counts = Counter(attributes[field] for attributes in drawn)
        assert set(counts) == set(table)
        for value, p in table.items():
            bound = 5 * np.sqrt(num_draws * p * (1 - p))
            assert abs(counts[value] - num_draws * p) < bound, (field, value)


def test_attributes_are_independent_of_each_other() -> None:
    drawn = [AvatarDataset(32, seed=12).attributes(index) for index in range(20_000)]
    flags = np.array(
        [[a.has_glasses, a.has_beard, a.has_hair, a.mouth == "smile", a.shift_x > 0, a.background_gradient] for a in drawn]
    )
    correlation = np.corrcoef(flags, rowvar=False)
    assert np.abs(correlation - np.eye(6)).max() < 5 / np.sqrt(len(drawn))


@pytest.mark.parametrize("resolution", [32, 128])
def test_background_pixels_have_the_background_colour(resolution: int) -> None:
    dataset = AvatarDataset(resolution)
    ramp = 0.45 * (resolution - 0.5 - np.arange(resolution)) / resolution  # the share of white at each row's centre
    for index in range(60):
        image, mask, attributes = dataset.sample(index)
        color = np.array(BACKGROUND_COLORS[attributes.background_color], dtype=np.float64)
        white = ramp if attributes.background_gradient else 0 * ramp
        expected = np.broadcast_to((color[:, None] + (255 - color)[:, None] * white)[..., None], image.shape)
        inside = erode(erode(mask == PART["background"]))
        assert np.abs(image - expected)[:, inside].max(initial=0) <= 0.51
        assert inside.mean() > 0.02 or attributes.hair in ("fro", "big_hair", "einstein_hair", "loose_hair", "dreads")


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_mask_shows_a_part_exactly_when_the_attributes_have_it(resolution: int) -> None:
    dataset = AvatarDataset(resolution)
    seen = np.zeros(len(PART_NAMES), dtype=bool)
    for index in range(300):
        attributes = dataset.attributes(index)
        present = np.bincount(dataset.mask(index).ravel(), minlength=len(PART_NAMES)) > 0
        assert len(present) == len(PART_NAMES)
        assert present[PART["glasses"]] == attributes.has_glasses, index
        assert present[PART["beard"]] == attributes.has_beard, index
        assert present[PART["hair"]] == attributes.has_hair, index
        assert present[[PART["skin"], PART["clothes"], PART["mouth"]]].all(), index
        seen |= present
    assert seen.all()


@pytest.mark.parametrize("hair", [style for style in CHOICES["hair"] if style != "none"])
def test_hair_pixels_have_the_hair_colour(hair: str) -> None:
    """Some styles are striped or glossed over, so not each of their pixels has it; the rest have little else."""
    dataset = AvatarDataset(128)
    attributes = replace(dataset.attributes(5), hair=hair, hair_color="pink", glasses="none", beard="none")
    image, mask = dataset.render(attributes)
    inside = erode(mask == PART["hair"])
    share = (image[:, inside] == np.array(HAIR_COLORS["pink"])[:, None]).all(axis=0).mean()
    striped = ("big_hair", "cornrows", "dreadlocks", "long_not_too_long", "twist_long_hair", "twist_long_hair_2")
    assert share > (0.2 if hair in striped else 0.6)


@pytest.mark.parametrize(
    ("field", "color", "parts"),
    [
        ("hair_color", "red", ("hair", "beard")),
        ("skin_color", "pale", ("skin",)),
        ("clothes_color", "red", ("clothes",)),
    ],
)
def test_recolouring_changes_only_its_part(field: str, color: str, parts: tuple[str, ...]) -> None:
    """But for soft edges, gaps thinner than a pixel and what see-through parts let through: under 2 % of the change."""
    dataset = AvatarDataset(64)
    num_changed = 0
    for index in range(40):
        image, mask, attributes = dataset.sample(index)
        edited, edited_mask = dataset.render(replace(attributes, **{field: color}))
        np.testing.assert_array_equal(edited_mask, mask)
        change = np.abs(edited.astype(np.int64) - image).sum(axis=0)
        elsewhere = erode(~np.isin(mask, [PART[part] for part in parts]))
        if field == "skin_color":  # eyes, brows, nose and mouth are see-through
            elsewhere &= np.isin(mask, [PART["background"], PART["hair"], PART["clothes"]])
        assert change[elsewhere].sum() <= 0.02 * change.sum(), index
        num_changed += bool(change.any())
    assert num_changed > 20


def test_no_hair_colour_resembles_a_skin_colour() -> None:
    for hair in HAIR_COLORS.values():
        for skin in SKIN_COLORS.values():
            assert np.linalg.norm(np.subtract(hair, skin)) > 30


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_a_small_image_is_the_box_average_of_a_large_one(factor: int) -> None:
    """Exact for one layer; where soft edges of several meet, blending and averaging do not commute."""
    large, small = AvatarDataset(256, seed=1), AvatarDataset(256 // factor, seed=1)
    for index in range(12):
        difference = np.abs(box_average(large[index], factor) - small[index])
        assert difference.mean() < 1.5
        assert np.quantile(difference, 0.9) <= 1
        mask_agreement = large.mask(index)[factor // 2 :: factor, factor // 2 :: factor] == small.mask(index)
        assert mask_agreement.mean() > 0.93


@pytest.mark.parametrize("index", range(12))
def test_pictures_match_the_original_rendered_as_one_svg(index: int) -> None:
    """The same avatar drawn by python-avatars and rasterised whole by resvg, without atlas, layers or our blending."""
    pa = pytest.importorskip("python_avatars")
    resvg = pytest.importorskip("resvg_py")
    dataset = AvatarDataset(256)
    attributes = replace(dataset.attributes(index), **CENTERED, beard="none", background_gradient=False)
    image, _ = dataset.render(attributes)

    def hexadecimal(color: tuple[int, int, int]) -> str:
        return "#{:02X}{:02X}{:02X}".format(*color)

    svg = pa.Avatar(
        style=pa.AvatarStyle.TRANSPARENT,
        top=pa.HairType[attributes.hair.upper()],
        hair_color=hexadecimal(HAIR_COLORS[attributes.hair_color]),
        eyebrows=pa.EyebrowType[attributes.brows.upper()],
        eyes=pa.EyeType[attributes.eyes.upper()],
        nose=pa.NoseType[attributes.nose.upper()],
        mouth=pa.MouthType[attributes.mouth.upper()],
        facial_hair=pa.FacialHairType.NONE,
        skin_color=hexadecimal(SKIN_COLORS[attributes.skin_color]),
        accessory=pa.AccessoryType[attributes.glasses.upper()],
        clothing=pa.ClothingType[attributes.clothes.upper()],
        clothing_color=hexadecimal(CLOTHES_COLORS[attributes.clothes_color]),
    ).render()
    root = ElementTree.fromstring(svg)
    root.set("viewBox", "20 11 224 224")
    root.set("width", "1024")
    root.set("height", "1024")
    background = hexadecimal(BACKGROUND_COLORS[attributes.background_color])
    png = resvg.svg_to_bytes(svg_string=ElementTree.tostring(root, encoding="unicode"), background=background)
    large = np.asarray(Image.open(io.BytesIO(bytes(png))).convert("RGB")).transpose(2, 0, 1)
    difference = np.abs(box_average(large, 4) - image)
    assert difference.mean() < 1.5
    assert np.quantile(difference, 0.9) <= 2


def test_content_key_changes_with_whatever_changes_the_pixels() -> None:
    datasets = [AvatarDataset(64), AvatarDataset(32), AvatarDataset(64, seed=1), AvatarDataset(64, num_images=10)]
    assert len({dataset.content_key for dataset in datasets}) == 4
    assert AvatarDataset(64).content_key == AvatarDataset(64).content_key
    assert AvatarDataset(64, 10, 7).describe() == "avatars: 10 images, 64x64, seed 7"


@pytest.mark.parametrize("index", [-1, 10, 10**20])
def test_an_index_out_of_range_is_an_index_error(index: int) -> None:
    dataset = AvatarDataset(32, num_images=10)
    for access in (dataset.__getitem__, dataset.mask, dataset.attributes, dataset.sample):
        with pytest.raises(IndexError, match="out of range for 10 images"):
            access(index)
    assert len(list(dataset)) == len(dataset) == 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"resolution": 48}, "avatars: resolution must be one of 32, 64, 128, 256, got 48"),
        ({"resolution": 512}, "avatars: resolution must be one of 32, 64, 128, 256, got 512"),
        ({"resolution": 64, "num_images": 0}, "avatars: num_images must be at least 1, got 0"),
        ({"resolution": 64, "seed": 2**63}, f"avatars: seed must fit in a signed 64-bit integer, got {2**63}"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(InputError) as caught:
        AvatarDataset(**arguments)
    assert str(caught.value) == message
