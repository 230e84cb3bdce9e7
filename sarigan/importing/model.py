"""What an import yields: a configuration, weights by our names, and what a person should know."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from sarigan.config import config_from_dict
from sarigan.errors import InputError
from sarigan.exporting.layouts.part import Part, Shape, their_shapes, to_ours
from sarigan.files.reading import reading
from sarigan.files.weights import load_weights
from sarigan.importing.stored_tensor import StoredTensor
from sarigan.models.discriminator import Discriminator, DiscriminatorConfig
from sarigan.models.generator import Generator, GeneratorConfig
from sarigan.models.synthesis import block_resolutions, channels_at
from sarigan.systems.style.system import StyleConfig
from sarigan.training.precision import Precision
from sarigan.training.state import TrainingState

Weights = dict[str, Tensor]


@dataclass
class ImportedModel:
    """A model of somebody else's code. Weights are by our names and in float32, or float64 where the file's are."""

    kind: str  # whose file it was, for a person
    licence: str
    generator_config: GeneratorConfig
    average: Weights  # G_ema, its mean latent among them unless `estimates_mean`
    generator: Weights | None  # G; None: the file has G_ema alone
    discriminator: Weights | None
    discriminator_config: DiscriminatorConfig
    objective: dict[str, Any] = field(default_factory=dict)
    estimates_mean: bool = False
    notes: list[str] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)  # what the weights say of the data

    def config(self, source: str) -> StyleConfig:
        """A run's configuration that fits the weights; everything else in it is the default."""
        sections = {
            "generator": asdict(self.generator_config),
            "discriminator": asdict(self.discriminator_config),
            "objective": self.objective,
            "data": self.data,
        }
        config = config_from_dict(sections, source)
        assert isinstance(config, StyleConfig)
        return config

    def checkpoint_state(self, config: StyleConfig, source: str) -> dict[str, Any]:
        """What a checkpoint of this project holds, at step 0, with optimisers that have seen nothing.

        InputError naming `source` when a setting of the configuration asks for other weights.
        """
        double = self.average["synthesis.constant"].dtype == torch.float64
        state = TrainingState(config, Precision(torch.device("cpu"), "float64" if double else "float32"))
        modules = state.system.modules()
        average, online = self.average, self.average if self.generator is None else self.generator
        with reading(source, "model with these settings"):
            if self.estimates_mean:
                mean = {"mean_latent": _mean_latent(config.generator, average)}
                average, online = average | mean, online | mean
            load_weights(modules["ema_generator"], average)
            load_weights(modules["generator"], online)
            if self.discriminator is not None:
                load_weights(modules["discriminator"], self.discriminator)
        missing = [] if self.discriminator is not None else ["discriminator"]
        return {**state.state_dict(), "imported": {"kind": self.kind, "licence": self.licence, "missing": missing}}


def _mean_latent(config: GeneratorConfig, weights: Weights) -> Tensor:
    """The mean w of 10,000 fixed-seed z."""
    empty = torch.zeros(config.w_dim, dtype=weights["synthesis.constant"].dtype)
    generator = Generator.from_weights(config, {**weights, "mean_latent": empty}, "cpu")
    generator.update_mean_latent()
    return generator.mean_latent


def generator_weights(
    config: GeneratorConfig, parts: Sequence[Part], filters: Mapping[str, Tensor], tensors: Mapping[str, StoredTensor],
    network: str,
) -> Weights:  # fmt: skip
    """Our weights of a generator from their tensors; InputError naming what is missing, superfluous or of another shape."""
    return _converted(lambda: Generator(config), parts, filters, tensors, network)


def discriminator_weights(
    config: DiscriminatorConfig, resolution: int, code_dim: int, parts: Sequence[Part], filters: Mapping[str, Tensor],
    tensors: Mapping[str, StoredTensor], network: str, num_classes: int = 0,
) -> Weights:  # fmt: skip
    """As `generator_weights`, of a discriminator with `code_dim` outputs of Q."""
    return _converted(lambda: Discriminator(config, resolution, code_dim, num_classes), parts, filters, tensors, network)


def _converted(
    build: Callable[[], nn.Module], parts: Sequence[Part], filters: Mapping[str, Tensor], tensors: Mapping[str, StoredTensor],
    network: str,
) -> Weights:  # fmt: skip
    with torch.device("meta"):  # nothing is allocated before all shapes agree
        ours: dict[str, Shape] = {name: tuple(value.shape) for name, value in build().state_dict().items()}
    wanted = their_shapes(parts, ours) | {name: tuple(value.shape) for name, value in filters.items()}
    if missing := wanted.keys() - tensors.keys():
        raise InputError(f"{network} has no {min(missing)} ({len(missing)} of {len(wanted)} tensors are missing)")
    if superfluous := tensors.keys() - wanted.keys():
        raise InputError(f"{network} holds {min(superfluous)[:100]}, which this kind of model does not have")
    for name, shape in wanted.items():
        if tensors[name].shape != shape:
            raise InputError(f"{network}: {name} must have the shape {shape} beside the others, got {tensors[name].shape}")
    for name, expected in filters.items():
        if not torch.allclose(tensors[name].load().to(expected.dtype), expected, rtol=0, atol=1e-6):
            raise InputError(f"{network}: {name} is another resampling filter than [1, 3, 3, 1], the only one there is here")
    names = {part.theirs for part in parts}
    loaded = {name: tensors[name].load() for name in names}
    for name, value in loaded.items():
        if not value.is_floating_point():
            raise InputError(f"{network}: {name} must hold floating-point numbers, got {value.dtype}")
        if not bool(value.isfinite().all()):
            raise InputError(f"{network}: {name} holds numbers that are not finite")
    double = any(value.dtype == torch.float64 for value in loaded.values())
    dtype = torch.float64 if double else torch.float32
    return to_ours(parts, {name: value.to(dtype) for name, value in loaded.items()}, ours)


def fitted_widths(widths: Sequence[int], network: str) -> tuple[int, int]:
    """channel_base and channel_max of the widths at 4, 8, ..., R; InputError for widths that no such two numbers give."""
    resolutions = block_resolutions(4 << (len(widths) - 1))
    widest = max(widths)
    base = max((r * width + 1) // 2 for r, width in zip(resolutions, widths, strict=True))
    if [channels_at(r, base, widest) for r in resolutions] != list(widths):
        raise InputError(f"{network} is {list(widths)} channels wide at 4, 8, ... px; here widths are min(base / px, maximum)")
    return base, widest
