"""Named binary attributes of avatars, read off their ground truth: what the attribute classifiers are trained on."""

from collections.abc import Callable

import numpy as np

from sarigan.data.avatars.attributes import AvatarAttributes

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
