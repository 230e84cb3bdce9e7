"""Load what was trained: `from sarigan import load_generator`, or the whole system of a checkpoint."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sarigan.config import Config, config_from_dict
from sarigan.errors import InputError
from sarigan.files.checkpoint import DamagedCheckpointError, list_checkpoints, load_checkpoint, resolve_checkpoint
from sarigan.files.reading import reading
from sarigan.importing.foreign_file import load_state
from sarigan.models.generator import Generator
from sarigan.systems.style.system import StyleConfig
from sarigan.systems.system import System
from sarigan.training.precision import Precision


def load_generator(path: str | Path, device: str | torch.device = "cpu") -> Generator:
    """The EMA generator of a checkpoint file, or of the newest checkpoint of a run directory, ready to call.

    Its groups are the argmax of the averaged logits, its `mean_latent` the mean w of 10,000 fixed-seed z.
    Raises InputError when there is no readable checkpoint; it names an older one that is whole where the newest is damaged.

        g = load_generator("runs/quickstart")
        out = g(torch.randn(4, g.config.z_dim), truncation_psi=0.7)
        out.images   # [4,3,R,R], about -1..1
    """
    return load_generator_and_record(path, device)[0]


def load_generator_and_record(path: str | Path, device: str | torch.device = "cpu") -> tuple[Generator, dict[str, Any]]:
    """`load_generator`, and the checkpoint's content (its configuration and step among it), which is read once."""
    file = resolve_checkpoint(path)
    state = _load(file, device)
    with reading(file, "checkpoint of a generator"):
        config = require_style(config_from_dict(state["config"], str(file)), file)
        return Generator.from_weights(config.generator, state["ema_generator"], device), state


def require_style(config: Config, source: str | Path) -> StyleConfig:
    """The configuration of a style-based generator; InputError naming `source` for another system's."""
    if not isinstance(config, StyleConfig):
        raise InputError(f"{source}: holds a system {config.system!r}; this needs a style-based generator (system: style)")
    return config


def load_system(path: str | Path, device: str | torch.device = "cpu") -> tuple[System, Config]:
    """The system of a checkpoint file or run directory, its networks frozen in evaluation mode, and its configuration.

    InputError as `load_generator`, or when the checkpoint does not fit its own configuration.
    """
    file = resolve_checkpoint(path)
    state = _load(file, device)
    with reading(file, "checkpoint of a run"):
        config = config_from_dict(state["config"], str(file))
        weights = next((value for value in _tensors(state) if value.is_floating_point()), torch.empty(0))
        system = config.build(Precision(torch.device(device), "float64" if weights.dtype == torch.float64 else "float32"))
        system.load_state_dict(state, str(file))
    for network in system.networks.values():
        network.eval().requires_grad_(False)
    return system, config


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)


def _load(file: Path, device: str | torch.device) -> dict[str, Any]:
    """`load_checkpoint`, which of a damaged file also tells the newest whole one that lies beside it."""
    try:
        return load_state(file, device)
    except DamagedCheckpointError as error:
        for other in reversed(list_checkpoints(file.parent)):
            if other != file and _is_whole(other):
                raise DamagedCheckpointError(f"{error}; the newest good one beside it is {other}: give that one") from None
        raise


def _is_whole(file: Path) -> bool:
    try:
        load_checkpoint(file)
    except InputError:
        return False
    return True
