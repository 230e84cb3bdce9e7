"""What an avatar looks like: its attributes, their documented probabilities, and the draw from (seed, index).

The draw hashes (seed, index) with SHAKE-128 and reads one 32-bit word per field: a counter-based generator that no
numpy version, global state or order of access can change. All fields are independent of each other.
"""

import hashlib
import struct
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

_HAIR_STYLES = (
    "big_hair", "bob", "bun", "buzzcut", "caesar", "caesar_side_part", "cornrows", "curly", "curvy", "dreadlocks",
    "dreads", "einstein_hair", "elvis", "frizzle", "fro", "long_not_too_long", "loose_hair", "mia_wallace", "mowgli",
    "pixie", "pompadour", "quiff", "shaggy", "shaggy_mullet", "short_curly", "short_dreads_1", "short_dreads_2",
    "short_flat", "short_round", "short_waved", "sides", "straight_1", "straight_strand", "twist_long_hair",
    "twist_long_hair_2", "wild",
)  # fmt: skip

# Palettes, sRGB: python-avatars' hues, moved apart so that no hair has its wearer's skin colour.
SKIN_COLORS = {
    "pale": (255, 219, 180),
    "light": (237, 185, 138),
    "tan": (222, 160, 110),
    "brown": (208, 139, 91),
    "dark_brown": (158, 104, 72),
    "black": (97, 67, 53),
}
HAIR_COLORS = {
    "auburn": (150, 62, 30),
    "black": (44, 27, 24),
    "blonde": (200, 150, 60),
    "golden": (235, 205, 105),
    "brown": (130, 82, 46),
    "dark_brown": (70, 42, 32),
    "pink": (245, 151, 151),
    "platinum": (240, 232, 214),
    "red": (201, 51, 5),
    "silver": (186, 190, 198),
}
CLOTHES_COLORS = {
    "black": (38, 46, 51),
    "sky": (101, 201, 255),
    "blue": (81, 153, 228),
    "navy": (37, 85, 124),
    "gray": (146, 149, 152),
    "heather": (60, 79, 92),
    "green": (167, 255, 196),
    "orange": (255, 170, 80),
    "pink": (255, 72, 142),
    "red": (255, 92, 92),
    "white": (255, 255, 255),
}
BACKGROUND_COLORS = {
    "sky": (126, 190, 235),
    "mint": (150, 214, 182),
    "lavender": (178, 166, 226),
    "rose": (238, 168, 186),
    "sand": (232, 206, 150),
    "teal": (84, 158, 164),
    "slate": (112, 128, 150),
    "lime": (186, 206, 110),
    "plum": (134, 92, 140),
    "cloud": (222, 228, 234),
}


def _equal(names: Sequence[str], total: float = 1.0) -> dict[str, float]:
    return {name: total / len(names) for name in names}


# Field -> {value: probability}. Who changes a table, its order included, raises `avatars.VERSION`.
CHOICES: dict[str, dict[str, float]] = {
    "skin_color": _equal(list(SKIN_COLORS)),
    "hair": {"none": 0.05, **_equal(_HAIR_STYLES, 0.95)},
    "hair_color": _equal(list(HAIR_COLORS)),
    "brows": _equal(
        ["angry", "angry_natural", "default", "default_natural", "flat_natural", "frown_natural", "raised_excited",
         "raised_excited_natural", "sad_concerned", "sad_concerned_natural", "up_down", "up_down_natural"]
    ),
    "eyes": {
        "default": 0.40, "happy": 0.15, "side": 0.10, "squint": 0.10, "surprised": 0.10, "closed": 0.05,
        "eye_roll": 0.05, "wink": 0.05,
    },
    "glasses": {
        "none": 0.65, "prescription_1": 0.07, "prescription_2": 0.10, "round": 0.08, "sunglasses": 0.05,
        "wayfarers": 0.05,
    },
    "nose": {"default": 0.40, "small": 0.30, "wide": 0.30},
    "mouth": {
        "smile": 0.20, "twinkle": 0.12, "serious": 0.12, "default": 0.10, "big_smile": 0.10, "sad": 0.08,
        "concerned": 0.08, "disbelief": 0.08, "grimace": 0.04, "scream_open": 0.04, "tongue": 0.04,
    },
    "beard": {
        "none": 0.70, "beard_light": 0.08, "beard_medium": 0.07, "beard_magestic": 0.04, "wick_beard": 0.03,
        "moustache_fancy": 0.04, "moustache_magnum": 0.04,
    },
    "clothes": _equal(
        ["blazer_shirt", "blazer_sweater", "collar_sweater", "hoodie", "overall", "shirt_crew_neck",
         "shirt_scoop_neck", "shirt_v_neck", "chef", "shirt_wick"]
    ),
    "clothes_color": _equal(list(CLOTHES_COLORS)),
    "background_color": _equal(list(BACKGROUND_COLORS)),
}  # fmt: skip

# Field -> equally likely values. Lengths are in steps of 1/128 of the picture's side; x grows right, y down.
GEOMETRY: dict[str, tuple[int, ...]] = {
    "scale_percent": (94, 97, 100, 103, 106),
    "shift_x": (-4, -3, -2, -1, 0, 1, 2, 3, 4),  # the whole person
    "shift_y": (-2, -1, 0, 1, 2),
    "face_x": (-2, -1, 0, 1, 2),  # eyes, brows, nose, mouth, glasses and moustache on the head: a slight turn
    "eyes_y": (-1, 0, 1, 2),  # with brows and glasses
    "brows_y": (-1, 0, 1),  # on top of eyes_y
    "mouth_y": (-1, 0, 1),
}
GRADIENT_PROBABILITY = 0.5


@dataclass(frozen=True)
class AvatarAttributes:
    """Everything that determines one avatar. Names are keys of `CHOICES`, numbers are values of `GEOMETRY`."""

    skin_color: str
    hair: str
    hair_color: str  # also the beard's colour
    brows: str
    eyes: str
    glasses: str
    nose: str
    mouth: str
    beard: str
    clothes: str
    clothes_color: str
    background_color: str
    scale_percent: int
    shift_x: int
    shift_y: int
    face_x: int
    eyes_y: int
    brows_y: int
    mouth_y: int
    background_gradient: bool  # graded towards white at the top, or plain
    has_hair: bool
    has_glasses: bool
    has_beard: bool


_WORDS = struct.Struct(f"<{len(CHOICES) + len(GEOMETRY) + 1}I")
_NAMES = [list(table) for table in CHOICES.values()]
_BOUNDS = [[round(bound * 2**32) for bound in list(accumulate(table.values()))[:-1]] for table in CHOICES.values()]
_STEPS = list(GEOMETRY.values())


def draw_attributes(seed: int, index: int) -> AvatarAttributes:
    """The attributes of avatar `index` of the set `seed` (both signed 64-bit): a pure function."""
    digest = hashlib.shake_128(b"sarigan avatars" + struct.pack("<qq", seed, index)).digest(_WORDS.size)
    words = _WORDS.unpack(digest)
    values: list[Any] = [names[bisect_right(bounds, word)] for names, bounds, word in zip(_NAMES, _BOUNDS, words, strict=False)]
    values += [steps[word * len(steps) >> 32] for steps, word in zip(_STEPS, words[len(_NAMES) :], strict=False)]
    fields = dict(zip([*CHOICES, *GEOMETRY], values, strict=True))
    return AvatarAttributes(
        **fields,
        background_gradient=words[-1] < GRADIENT_PROBABILITY * 2**32,
        has_hair=fields["hair"] != "none",
        has_glasses=fields["glasses"] != "none",
        has_beard=fields["beard"] != "none",
    )


def draw_choice(field: str, seed: int, index: int) -> int:
    """The value of one field of `CHOICES` that `draw_attributes` draws, as an index into its names, without the others."""
    place = list(CHOICES).index(field)
    digest = hashlib.shake_128(b"sarigan avatars" + struct.pack("<qq", seed, index)).digest(4 * (place + 1))
    return bisect_right(_BOUNDS[place], int.from_bytes(digest[-4:], "little"))


_LONG_HAIR = {
    "big_hair", "bob", "curvy", "dreads", "long_not_too_long", "loose_hair", "mia_wallace", "straight_1",
    "straight_strand", "twist_long_hair", "twist_long_hair_2",
}  # fmt: skip
_EYES_WITH_WHITES = {"squint", "surprised", "eye_roll"}
_DARK_GLASSES = {"sunglasses", "wayfarers"}

# Only what can be seen: a colour of hair needs hair, the whites of eyes need glasses that let them through.
BINARY_ATTRIBUTES: dict[str, Callable[[AvatarAttributes], bool]] = {
    "glasses": lambda a: a.has_glasses,
    "dark_glasses": lambda a: a.glasses in _DARK_GLASSES,
    "facial_hair": lambda a: a.has_beard,
    "long_hair": lambda a: a.hair in _LONG_HAIR,
    "dark_hair": lambda a: a.has_hair and a.hair_color in {"black", "dark_brown"},
    "light_hair": lambda a: a.has_hair and a.hair_color in {"blonde", "golden", "platinum", "silver"},
    "red_hair": lambda a: a.has_hair and a.hair_color in {"auburn", "red"},
    "dark_skin": lambda a: a.skin_color in {"dark_brown", "black"},
    "pale_skin": lambda a: a.skin_color in {"pale", "light"},
    "smile": lambda a: a.mouth in {"smile", "twinkle", "big_smile", "tongue", "default"},
    "closed_mouth": lambda a: a.mouth in {"twinkle", "serious", "sad"},
    "eye_whites": lambda a: a.eyes in _EYES_WITH_WHITES and a.glasses not in _DARK_GLASSES,
    "dark_clothes": lambda a: a.clothes_color in {"black", "navy", "heather"},
    "warm_clothes": lambda a: a.clothes_color in {"orange", "pink", "red"},
    "green_background": lambda a: a.background_color in {"mint", "lime", "teal"},
    "warm_background": lambda a: a.background_color in {"rose", "sand"},
    "graded_background": lambda a: a.background_gradient,
}


def binary_labels(attributes: AvatarAttributes) -> np.ndarray:
    """The truth of every attribute of `BINARY_ATTRIBUTES`, in its order: bool [A]."""
    return np.array([holds(attributes) for holds in BINARY_ATTRIBUTES.values()], dtype=bool)
