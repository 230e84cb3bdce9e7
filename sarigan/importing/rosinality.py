"""Checkpoints of rosinality/stylegan2-pytorch, trained or converted, and of SariGAN's release, a fork of it."""

import re
from collections.abc import Mapping
from typing import Any

from sarigan.errors import InputError
from sarigan.exporting.layouts.rosinality import (
    discriminator_filters,
    discriminator_parts,
    generator_filters,
    generator_parts,
)
from sarigan.importing.model import ImportedModel, Weights, discriminator_weights, fitted_widths, generator_weights
from sarigan.importing.stored_tensor import StoredTensor
from sarigan.layers.grouping import GroupingConfig
from sarigan.models.discriminator import DiscriminatorConfig
from sarigan.models.generator import GeneratorConfig

ROSINALITY = "rosinality/stylegan2-pytorch checkpoint"
RELEASE = "checkpoint of SariGAN's release"
LICENCES = {
    ROSINALITY: "weights converted from NVIDIA's keep NVIDIA's licence, most of them for non-commercial use; others have their"
    " trainer's",
    RELEASE: "SariGAN's release states no licence: ask its authors before you pass on what you make of its weights",
}
# What the release trained with (docs/reproduction.md), for fine-tuning.
_RELEASE_OBJECTIVE = {"grouping_weight": 0.005, "threshold_weight": 0.25, "information_weight": 20.0}
Tensors = Mapping[str, StoredTensor]


def is_rosinality(tree: Any) -> bool:
    """Whether a file's value is a checkpoint of one of the two, or a bare generator of one."""
    return _state(tree, "g_ema") is not None or _state(tree, "g") is not None or _is_generator(tree)


def read_rosinality(tree: dict[str, Any]) -> ImportedModel:
    """The model in a checkpoint; InputError for what does not fit together."""
    if _is_generator(tree):
        tree = {"g_ema": tree}
    average, online = _state(tree, "g_ema"), _state(tree, "g")
    first, name = (average, "g_ema") if average is not None else (online, "g")
    assert first is not None
    config = infer_generator(first, name)
    grouped = config.grouping.kind != "none"
    kind = RELEASE if grouped else ROSINALITY
    parts, filters = generator_parts(config), generator_filters(config)
    mean = tree.get("latent_avg")
    notes = []

    def weights(state: Tensors, network: str) -> Weights:
        found = generator_weights(config, parts, filters, state, network)
        if mean is not None:
            found["mean_latent"] = _mean_latent(mean, config.w_dim).to(found["synthesis.constant"].dtype)
        return found

    if average is None:
        notes.append("the file has no g_ema: g stands for the average")
    if mean is None:
        notes.append("the file has no latent_avg: the mean latent was estimated from 10,000 latents of a fixed seed")
    model = ImportedModel(
        kind, LICENCES[kind], config, weights(first, name),
        weights(online, "g") if online is not None and average is not None else None, None,
        DiscriminatorConfig(config.channel_base, config.channel_max),
        dict(_RELEASE_OBJECTIVE) if grouped else {"information_weight": 0.0}, estimates_mean=mean is None, notes=notes,
    )  # fmt: skip
    discriminator = _state(tree, "d")
    if discriminator is None:
        notes.append("the file has no d: a discriminator for fine-tuning starts anew")
        return model
    model.discriminator_config = infer_discriminator(discriminator, config.resolution)
    model.discriminator = discriminator_weights(
        model.discriminator_config, config.resolution, config.w_dim if grouped else 0,
        discriminator_parts(config.resolution, grouped), discriminator_filters(config.resolution), discriminator, "d",
    )  # fmt: skip
    return model


def infer_generator(state: Tensors, network: str) -> GeneratorConfig:
    """Resolution, widths, depth and groups from names and shapes."""
    count = _count(state, r"convs\.(\d{1,3})\.conv\.weight")
    depth = _count(state, r"style\.(\d{1,3})\.weight", first=1)
    if count < 2 or count % 2 or not depth:
        raise InputError(f"{network} has {count} convs and {depth} mapping layers; an even number, and at least 1, are right")
    widths = [_size(state, "conv1.conv.weight", 1, network)]
    widths += [_size(state, f"convs.{k}.conv.weight", 1, network) for k in range(1, count, 2)]
    base, widest = fitted_widths(widths, network)
    sizes: dict[str, Any] = {"resolution": 4 << (count // 2), "channel_base": base, "channel_max": widest}
    stored_noise = "noises.noise_0" in state
    z_dim = _size(state, "style.1.weight", 1, network)
    if "final_style.weight" not in state:
        style_dim = _size(state, "style.1.weight", 0, network)
        grouping = GroupingConfig(kind="none")
        return GeneratorConfig(
            **sizes, z_dim=z_dim, style_dim=style_dim, mapping_layers=depth, stored_noise=stored_noise, grouping=grouping
        )
    w_dim = _size(state, "final_style.weight", 0, network)
    if w_dim % 2:
        raise InputError(f"{network}: final_style.weight must have two halves, got {w_dim} rows")
    grouping = GroupingConfig(
        num_groups=_size(state, "convs.0.conv.cluster", 0, network), step="soft", threshold="learned",
        initial_threshold=0.2689414213699951, assignment="round", empty_group="release", loss_reduction="sum",
    )  # fmt: skip
    return GeneratorConfig(
        **sizes, z_dim=z_dim, style_dim=w_dim // 2, mapping_layers=depth + 1, stored_noise=stored_noise, grouping=grouping
    )


def infer_discriminator(state: Tensors, resolution: int) -> DiscriminatorConfig:
    """Widths from shapes."""
    levels = _count(state, r"convs\.(\d{1,3})\.conv2\.1\.weight", first=1)
    if 4 << levels != resolution:
        raise InputError(f"d is for {4 << levels} px, the generator for {resolution} px")
    widths = [_size(state, f"convs.{k}.conv2.1.weight", 0, "d") for k in range(levels, 0, -1)]
    return DiscriminatorConfig(*fitted_widths([*widths, _size(state, "convs.0.0.weight", 0, "d")], "d"))


def _state(tree: Any, key: str) -> dict[str, StoredTensor] | None:
    """The state dictionary under a key; None when there is none. A prefix of data-parallel training is taken off."""
    state = tree.get(key) if isinstance(tree, dict) else None
    if not isinstance(state, dict) or not state:
        return None
    if not all(isinstance(name, str) and isinstance(value, StoredTensor) for name, value in state.items()):
        return None
    if all(name.startswith("module.") for name in state):
        return {name.removeprefix("module."): value for name, value in state.items()}
    return state


def _is_generator(tree: Any) -> bool:
    return isinstance(tree, dict) and "style.1.weight" in tree and "input.input" in tree and "conv1.conv.weight" in tree


def _count(state: Tensors, pattern: str, first: int = 0) -> int:
    """How many layers in a row there are, their numbers beginning with `first`."""
    numbers = {int(match[1]) for name in state if (match := re.fullmatch(pattern, name))}
    count = first
    while count in numbers:
        count += 1
    return count - first


def _size(state: Tensors, name: str, axis: int, network: str) -> int:
    """The size of an axis of a tensor; InputError when it is not there."""
    if name not in state or len(state[name].shape) <= axis:
        raise InputError(f"{network} has no {name}, or one of too few axes")
    return state[name].shape[axis]


def _mean_latent(stored: Any, w_dim: int) -> Any:
    if not isinstance(stored, StoredTensor) or stored.shape not in ((w_dim,), (1, w_dim)):
        raise InputError(f"latent_avg must be a tensor of {w_dim} numbers")
    value = stored.load().reshape(w_dim)
    if not value.is_floating_point() or not bool(value.isfinite().all()):
        raise InputError("latent_avg must hold finite numbers")
    return value
