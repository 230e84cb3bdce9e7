"""A model as a file that other people's code loads: state dictionaries alone, no code and no optimiser."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sarigan.errors import InputError
from sarigan.exporting.layouts import nvidia, rosinality
from sarigan.exporting.layouts.part import to_theirs
from sarigan.files.paths import replace_file
from sarigan.models.discriminator import Discriminator, DiscriminatorConfig
from sarigan.models.generator import Generator

State = dict[str, Any]
RELEASE_THRESHOLD_LOGIT = -1.0  # what the release starts its threshold at; generation does not use it


def rosinality_state(
    average: Generator, generator: Generator, discriminator: Discriminator | None, discriminator_config: DiscriminatorConfig
) -> tuple[State, list[str]]:
    """{"g_ema", "g", "latent_avg", "d"} for rosinality/stylegan2-pytorch, with groups for SariGAN's release; and notes.

    InputError when that code has no such network.
    """
    config = average.config
    _require_skip(average)
    if config.class_names:
        raise InputError("that code has no classes; --format nvidia_state writes a StyleGAN2 with classes for NVIDIA's")
    grouped = config.grouping.kind != "none"
    if config.grouping.kind not in ("none", "similarity") or config.form != "weight" or config.style_biases:
        raise InputError("SariGAN's release has learned groups in the weight form without biases only, not this model's")
    if len(set(average.synthesis.num_groups().values())) > 1:  # type: ignore[operator, union-attr]
        raise InputError("SariGAN's release has as many groups in every layer, this model has fewer in some")
    if config.z_dim != config.style_dim or config.mapping_learning_rate_multiplier != 0.01:
        raise InputError("that code has z and w of one size, and a mapping with the learning-rate multiplier 0.01")
    notes = []
    if config.channel_max != 512 or config.channel_base not in (8192, 16384):
        notes.append("that code builds widths of configurations E and F alone: its table of channels has to be changed")
    if grouped and (config.grouping.assignment, config.grouping.empty_group) != ("round", "release"):
        notes.append("the release leaves tied channels without a group and lets empty groups act on all channels: where"
                     " there are such, its images differ")  # fmt: skip
    parts = rosinality.generator_parts(replace(config, noise=True, stored_noise=True))

    def weights(network: Generator) -> State:
        return to_theirs(parts, _weights(network)) | rosinality.generator_filters(config)

    state: State = {
        "g_ema": weights(average), "g": weights(generator), "latent_avg": average.mean_latent.detach().cpu().clone(),
    }  # fmt: skip
    group = discriminator_config.minibatch_stddev_group
    if discriminator is not None and group != 4:
        notes.append(f"that code's minibatch standard deviation has groups of 4, not {group}")
    codes = 0 if discriminator is None or discriminator.recognition is None else len(discriminator.recognition.linear.bias)
    if grouped and discriminator is not None and codes != config.w_dim:
        notes.append(f"without the discriminator: the release's has {config.w_dim} outputs of Q, this one {codes}")
    elif discriminator is not None:
        own = discriminator.state_dict()
        found = to_theirs(rosinality.discriminator_parts(config.resolution, grouped), own)
        state["d"] = found | rosinality.discriminator_filters(config.resolution)
        if codes and not grouped:
            notes.append("without the Q head, which that code's discriminator does not have")
    return state, notes


def nvidia_state(
    average: Generator, generator: Generator, discriminator: Discriminator | None, discriminator_config: DiscriminatorConfig
) -> tuple[State, list[str]]:
    """{"G_ema", "G", "D"} for stylegan2-ada-pytorch and stylegan3, and under "nvidia_state" the arguments of their classes.

    InputError for a model with groups, which that code does not have.
    """
    config = average.config
    _require_skip(average)
    if config.grouping.kind != "none":
        raise InputError("NVIDIA's code has no groups; --format rosinality writes a SariGAN for its release")
    parts = nvidia.generator_parts(replace(config, noise=True, stored_noise=True))
    notes = []

    def weights(network: Generator) -> State:
        return to_theirs(parts, _weights(network)) | nvidia.generator_filters(config)

    size = {"img_resolution": config.resolution, "img_channels": 3, "c_dim": len(config.class_names)}
    precision = {"num_fp16_res": 0, "conv_clamp": None}
    widths = {"channel_base": 2 * config.channel_base, "channel_max": config.channel_max}
    mapping = {"num_layers": config.mapping_layers, "lr_multiplier": config.mapping_learning_rate_multiplier}
    arguments: State = {
        "G": {
            "z_dim": config.z_dim, "w_dim": config.style_dim, **size, "mapping_kwargs": mapping,
            "synthesis_kwargs": widths | precision,
        }
    }  # fmt: skip
    state: State = {"G_ema": weights(average), "G": weights(generator)}
    if discriminator is not None:
        found = to_theirs(nvidia.discriminator_parts(config.resolution, bool(config.class_names)), discriminator.state_dict())
        state["D"] = found | nvidia.discriminator_filters(config.resolution)
        group = {"mbstd_group_size": discriminator_config.minibatch_stddev_group}
        widths = {"channel_base": 2 * discriminator_config.channel_base, "channel_max": discriminator_config.channel_max}
        arguments["D"] = {**size, **widths, **precision, "epilogue_kwargs": group}
        if discriminator.recognition is not None:
            notes.append("without the Q head, which that code's discriminator does not have")
    return {**state, "nvidia_state": arguments}, notes


FORMATS: dict[str, Callable[..., tuple[State, list[str]]]] = {"rosinality": rosinality_state, "nvidia_state": nvidia_state}


def save_foreign(state: State, path: Path) -> None:
    """Write with `torch.save`, whole or not at all; InputError when it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, lambda file: torch.save(state, file))
    except OSError as error:
        raise InputError(f"{path}: cannot write the export ({error.strerror})") from None


def _require_skip(generator: Generator) -> None:
    if generator.KIND != Generator.KIND:
        raise InputError(f"a {generator.KIND} generator, which that code does not have")
    if generator.config.synthesis != "skip":
        raise InputError("a StyleGAN (generator.synthesis=adain), which that code does not have")


def _weights(network: Generator) -> dict[str, Tensor]:
    """The generator's weights with its fixed noise, and with the release's scalars where they were not learned.

    A generator without noise gets noise of strength 0: their layers all have some.
    """
    found = dict(network.state_dict())
    latents = network.mean_latent.expand(1, network.num_latents, -1)
    for index, noise in enumerate(network.draw_noise(latents, "fixed")):
        assert noise is not None
        found[f"noise_{index}"] = noise
    for index, name in enumerate([] if network.config.noise else network.synthesis.layer_names()):
        resolution = int(name.partition("x")[0])
        found[f"synthesis.blocks.{name}.noise.strength"] = torch.zeros(1).to(network.mean_latent)
        found[f"noise_{index}"] = torch.zeros(1, 1, resolution, resolution).to(network.mean_latent)
    for layer in network.grouped_layers():
        prefix = next(name for name, module in network.named_modules() if module is layer.grouping)
        like = network.mean_latent
        inverse = torch.as_tensor(1 / (5 * network.config.grouping.constant_temperature)).clamp(0.01, 0.99)
        found.setdefault(f"{prefix}.temperature_logit", torch.logit(inverse).to(like))
        found.setdefault(f"{prefix}.threshold_logit", torch.tensor(RELEASE_THRESHOLD_LOGIT).to(like))
    return found
