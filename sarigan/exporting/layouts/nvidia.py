"""The layout of NVIDIA's PyTorch code: stylegan2-ada-pytorch, and stylegan3 with `--cfg=stylegan2`."""

from torch import Tensor

from sarigan.exporting.layouts.part import Part
from sarigan.exporting.layouts.rosinality import BLUR
from sarigan.models.discriminator import LABEL_MAPPING_LAYERS
from sarigan.models.generator import GeneratorConfig
from sarigan.models.synthesis import block_resolutions


def generator_parts(config: GeneratorConfig) -> list[Part]:
    """Of a StyleGAN2 generator, of classes where the configuration names them."""
    parts = _mapping_parts("mapping", config.mapping_layers, bool(config.class_names))
    parts += [
        Part("mean_latent", "mapping.w_avg"),
        Part("synthesis.constant", "synthesis.b4.const", lambda ours: ours[1:]),
    ]
    layer = 0
    for r in block_resolutions(config.resolution):
        block, theirs = f"synthesis.blocks.{r}x{r}", f"synthesis.b{r}"
        for name, number in (("up", 0), ("conv", 1)) if r > 4 else (("conv", 1),):
            parts += _layer_parts(f"{block}.{name}", f"{theirs}.conv{number}", f"{block}.{name}.activation.bias")
            if config.noise:
                parts.append(Part(f"{block}.{name}.noise.strength", f"{theirs}.conv{number}.noise_strength", lambda ours: ()))
            if config.stored_noise:
                parts.append(Part(f"noise_{layer}", f"{theirs}.conv{number}.noise_const", lambda ours: ours[2:]))
            layer += 1
        parts += _layer_parts(f"{block}.to_rgb", f"{theirs}.torgb", f"{block}.to_rgb.bias")
    return parts


def _mapping_parts(ours: str, num_layers: int, of_classes: bool) -> list[Part]:
    names = [(f"layers.{index}", f"fc{index}") for index in range(num_layers)] + [("embedding", "embed")] * of_classes
    return [Part(f"{ours}.{a}.{leaf}", f"mapping.{b}.{leaf}") for a, b in names for leaf in ("weight", "bias")]


def _layer_parts(ours: str, theirs: str, bias: str) -> list[Part]:
    return [
        Part(f"{ours}.convolution.weight", f"{theirs}.weight"),
        Part(bias, f"{theirs}.bias"),
        Part(f"{ours}.style.z_scale.weight", f"{theirs}.affine.weight"),
        Part(f"{ours}.style.z_scale.bias", f"{theirs}.affine.bias"),
    ]


def generator_filters(config: GeneratorConfig) -> dict[str, Tensor]:
    """The resampling filters of a generator's state dictionary."""
    resolutions = block_resolutions(config.resolution)
    names = [f"synthesis.b{r}.{part}resample_filter" for r in resolutions for part in ("", "conv0.", "conv1.")]
    return {name: BLUR.clone() for name in names if name != "synthesis.b4.conv0.resample_filter"}


def discriminator_parts(resolution: int, of_classes: bool = False) -> list[Part]:
    """Of the discriminator of residual blocks; with classes, also of the mapping that its logit is projected on."""
    parts = _mapping_parts("label_mapping", LABEL_MAPPING_LAYERS, True) if of_classes else []
    parts += [
        Part("from_rgb.weight", f"b{resolution}.fromrgb.weight"),
        Part("from_rgb_activation.bias", f"b{resolution}.fromrgb.bias"),
    ]
    for r in block_resolutions(resolution)[:0:-1]:
        ours = f"blocks.{r}x{r}"
        parts += [
            Part(f"{ours}.conv.weight", f"b{r}.conv0.weight"),
            Part(f"{ours}.activation.bias", f"b{r}.conv0.bias"),
            Part(f"{ours}.down.weight", f"b{r}.conv1.weight"),
            Part(f"{ours}.down_activation.bias", f"b{r}.conv1.bias"),
            Part(f"{ours}.skip.weight", f"b{r}.skip.weight"),
        ]
    parts += [Part("conv.weight", "b4.conv.weight"), Part("activation.bias", "b4.conv.bias")]
    for leaf in ("weight", "bias"):
        parts += [Part(f"dense.{leaf}", f"b4.fc.{leaf}"), Part(f"head.{leaf}", f"b4.out.{leaf}")]
    return parts


def discriminator_filters(resolution: int) -> dict[str, Tensor]:
    """The resampling filters of a discriminator's state dictionary."""
    blocks = block_resolutions(resolution)[:0:-1]
    names = [f"b{r}.{part}resample_filter" for r in blocks for part in ("", "conv0.", "conv1.", "skip.")]
    names += [f"b{resolution}.fromrgb.resample_filter", "b4.conv.resample_filter"]
    return {name: BLUR.clone() for name in names}
