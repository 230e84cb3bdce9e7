"""Checkpoints of older formats, made into the present one.

2: the file ends with its SHA-256.
1: as 2, without it.
0: counted `seen_images` rather than steps; the averaged generator was called `ema`, the mean path length
   `path_length_mean`, a plain number; the three optimisers stood in one dictionary `optimizers`; neither the seconds of
   training nor the platform were recorded.
"""

from collections.abc import Callable
from typing import Any

import torch

from sarigan.errors import InputError
from sarigan.files.reading import reading

FORMAT_VERSION = 2
SEALED_SINCE = 2
State = dict[str, Any]


def _from_0(old: State) -> State:
    state = {key: value for key, value in old.items() if key not in ("seen_images", "ema", "path_length_mean", "optimizers")}
    batch_size = old["config"]["training"]["batch_size"]
    state["step"], rest = divmod(int(old["seen_images"]), batch_size)
    if rest:
        raise InputError(f"seen_images {old['seen_images']} is no multiple of the batch size {batch_size}")
    constant = old["generator"]["synthesis.constant"]
    state["mean_path_length"] = torch.tensor(old["path_length_mean"], dtype=constant.dtype)
    state["ema_generator"] = old["ema"]
    for name in ("generator", "discriminator", "grouping"):
        state[f"{name}_optimizer"] = old["optimizers"].get(name)
    return state | {"seconds": 0.0, "platform": {}}


def _from_1(old: State) -> State:
    return old


MIGRATIONS: list[Callable[[State], State]] = [_from_0, _from_1]


def migrate(state: State, source: str) -> State:
    """The state in the present format, which `format_version` then says; InputError naming `source` when a part is missing."""
    version = state["format_version"]
    with reading(source, f"checkpoint of format {version}"):
        for migration in MIGRATIONS[version:]:
            state = migration(state)
    return {**state, "format_version": FORMAT_VERSION}
