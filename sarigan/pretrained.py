"""Load a trained generator for use: `from sarigan import load_generator`; or with its discriminator, for analysis."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sarigan.config import Config, config_from_dict
from sarigan.errors import InputError
from sarigan.files.checkpoint import DamagedCheckpointError, list_checkpoints, load_checkpoint, resolve_checkpoint
from sarigan.files.weights import floating_type, load_weights
from sarigan.models.discriminator import Discriminator
from sarigan.models.generator import Generator


def load_generator(path: str | Path, device: str | torch.device = "cpu") -> Generator:
    """The EMA generator of a checkpoint file, or of the newest checkpoint of a run directory, ready to call.

    Its groups are the argmax of the averaged logits, its `mean_latent` the mean w of 10,000 fixed-seed z.
    Raises InputError when there is no readable checkpoint; it names an older one that is whole where the newest is damaged.

        g = load_generator("runs/quickstart")
        out = g(torch.randn(4, g.config.z_dim), truncation_psi=0.7)
        out.images   # [4,3,R,R], about -1..1
    """
    file = resolve_checkpoint(path)
    state = _load(file, device)
    try:
        config = config_from_dict(state["config"], str(file))
        weights = state["ema_generator"]
        generator = Generator(config.generator).to(device, floating_type(weights["mean_latent"]))
        load_weights(generator, weights)
    except InputError:
        raise
    except (KeyError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{file}: no EMA generator that fits its configuration ({reason})") from None
    return generator.eval().requires_grad_(False)


@dataclass
class TrainedNetworks:
    """The EMA generator and the discriminator (with Q, where it has one) of one checkpoint, frozen."""

    generator: Generator
    discriminator: Discriminator
    config: Config


def load_networks(path: str | Path, device: str | torch.device = "cpu") -> TrainedNetworks:
    """Both networks of a checkpoint file or run directory; InputError as `load_generator`, or without a discriminator."""
    file = resolve_checkpoint(path)
    generator = load_generator(file, device)
    state = load_checkpoint(file, device)
    config = config_from_dict(state["config"], str(file))
    try:
        weights = state["discriminator"]
        head = weights.get("recognition.linear.weight")
        code_dim = 0 if head is None else head.shape[0]
        discriminator = Discriminator(config.discriminator, config.generator.resolution, code_dim)
        load_weights(discriminator.to(device, floating_type(weights["head.weight"])), weights)
    except (KeyError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{file}: no discriminator that fits its configuration ({reason})") from None
    return TrainedNetworks(generator, discriminator.eval().requires_grad_(False), config)


def _load(file: Path, device: str | torch.device) -> dict[str, Any]:
    """`load_checkpoint`, which of a damaged file also tells the newest whole one that lies beside it."""
    try:
        return load_checkpoint(file, device)
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
