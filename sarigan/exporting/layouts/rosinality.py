"""The layout of rosinality/stylegan2-pytorch, and of SariGAN's release, which is a fork of it.

A checkpoint is {"g", "d", "g_ema", "latent_avg", ...}. Convolutions are numbered: `conv1` at 4x4, then `convs.{k}`, of
which the even ones upsample. Blur filters lie among the weights.
"""

import torch
from torch import Tensor

from sarigan.exporting.layouts.part import Part, Shape
from sarigan.models.generator import GeneratorConfig
from sarigan.models.synthesis import block_resolutions

_TAPS = torch.tensor([1.0, 3.0, 3.0, 1.0])
BLUR = torch.outer(_TAPS, _TAPS) / _TAPS.sum() ** 2  # of sum 1; upsampling ones have sum 4


def _one_more(ours: Shape) -> Shape:
    return (1, *ours)


def generator_parts(config: GeneratorConfig) -> list[Part]:
    """Of a StyleGAN2 generator, or with groups of SariGAN's; without the mean latent, which stands beside the weights."""
    grouped = config.grouping.kind != "none"
    parts: list[Part] = []
    for index in range(config.mapping_layers):
        last = grouped and index == config.mapping_layers - 1
        theirs = "final_style" if last else f"style.{index + 1}"
        parts += [Part(f"mapping.layers.{index}.{leaf}", f"{theirs}.{leaf}") for leaf in ("weight", "bias")]
    parts.append(Part("synthesis.constant", "input.input"))
    layer = 0
    for level, r in enumerate(block_resolutions(config.resolution)):
        block = f"synthesis.blocks.{r}x{r}"
        for name in ("up", "conv") if level else ("conv",):
            theirs = f"convs.{layer - 1}" if level else "conv1"
            parts += _layer_parts(f"{block}.{name}", theirs, grouped and level > 0)
            if config.stored_noise:
                parts.append(Part(f"noise_{layer}", f"noises.noise_{layer}"))
            layer += 1
        theirs = f"to_rgbs.{level - 1}" if level else "to_rgb1"
        parts += [
            Part(f"{block}.to_rgb.convolution.weight", f"{theirs}.conv.weight", _one_more),
            Part(f"{block}.to_rgb.style.z_scale.weight", f"{theirs}.conv.modulation.weight"),
            Part(f"{block}.to_rgb.style.z_scale.bias", f"{theirs}.conv.modulation.bias"),
            Part(f"{block}.to_rgb.bias", f"{theirs}.bias", lambda ours: (1, *ours, 1, 1)),
        ]
    return parts


def _layer_parts(ours: str, theirs: str, grouped: bool) -> list[Part]:
    parts = [
        Part(f"{ours}.convolution.weight", f"{theirs}.conv.weight", _one_more),
        Part(f"{ours}.style.z_scale.weight", f"{theirs}.conv.modulation.weight"),
        Part(f"{ours}.style.z_scale.bias", f"{theirs}.conv.modulation.bias"),
        Part(f"{ours}.noise.strength", f"{theirs}.noise.weight"),
        Part(f"{ours}.activation.bias", f"{theirs}.activate.bias"),
    ]
    if grouped:
        parts += [
            Part(f"{ours}.style.h_scale.weight", f"{theirs}.conv.modulation_bases.weight"),
            Part(f"{ours}.style.h_scale.bias", f"{theirs}.conv.modulation_bases.bias"),
            Part(f"{ours}.grouping.logits", f"{theirs}.conv.cluster", transposed=True),
            Part(f"{ours}.grouping.temperature_logit", f"{theirs}.conv.tmpr", lambda ours: (1,)),
            Part(f"{ours}.grouping.threshold_logit", f"{theirs}.conv.gate", lambda ours: (1,)),
        ]
    return parts


def generator_filters(config: GeneratorConfig) -> dict[str, Tensor]:
    """The blur filters of a generator's file."""
    levels = len(block_resolutions(config.resolution)) - 1
    names = [name for k in range(levels) for name in (f"convs.{2 * k}.conv.blur.kernel", f"to_rgbs.{k}.upsample.kernel")]
    return dict.fromkeys(names, 4 * BLUR)


def discriminator_parts(resolution: int, release: bool) -> list[Part]:
    """Of the discriminator; with `release`, of SariGAN's, whose last layer holds the logit and, below it, Q's codes."""
    parts = [Part("from_rgb.weight", "convs.0.0.weight"), Part("from_rgb_activation.bias", "convs.0.1.bias")]
    for index, r in enumerate(block_resolutions(resolution)[:0:-1]):
        ours, theirs = f"blocks.{r}x{r}", f"convs.{index + 1}"
        parts += [
            Part(f"{ours}.conv.weight", f"{theirs}.conv1.0.weight"),
            Part(f"{ours}.activation.bias", f"{theirs}.conv1.1.bias"),
            Part(f"{ours}.down.weight", f"{theirs}.conv2.1.weight"),
            Part(f"{ours}.down_activation.bias", f"{theirs}.conv2.2.bias"),
            Part(f"{ours}.skip.weight", f"{theirs}.skip.1.weight"),
        ]
    parts += [Part("conv.weight", "final_conv.0.weight"), Part("activation.bias", "final_conv.1.bias")]
    dense, heads = ("final_linear", "final_info_linear") if release else ("final_linear.0", "final_linear.1")
    for leaf in ("weight", "bias"):
        parts += [Part(f"dense.{leaf}", f"{dense}.{leaf}"), Part(f"head.{leaf}", f"{heads}.{leaf}")]
        if release:
            parts.append(Part(f"recognition.linear.{leaf}", f"{heads}.{leaf}"))
    return parts


def discriminator_filters(resolution: int) -> dict[str, Tensor]:
    """The blur filters of a discriminator's file."""
    count = len(block_resolutions(resolution)) - 1
    return {f"convs.{index + 1}.{part}.0.kernel": BLUR.clone() for index in range(count) for part in ("conv2", "skip")}
