"""The networks of rosinality/stylegan2-pytorch and of SariGAN's release, slowly, from their names and equations.

Independent of the package: plain functions of state dictionaries, one weight per sample, one equation a line. Random
checkpoints of any width beside them.
"""

import argparse
import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

State = dict[str, Tensor]
TAPS = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64) / 8
BLUR = torch.outer(TAPS, TAPS)


def widths_at(resolution: int, base: int, most: int = 512) -> list[int]:
    """Channels at 4, 8, ... R: base 8192 is configuration E, 16384 configuration F."""
    return [min(2 * base // 2**level, most) for level in range(2, int(math.log2(resolution)) + 1)]


def random_generator(
    widths: list[int], size: int, depth: int, source: torch.Generator, groups: int = 0, dtype: torch.dtype = torch.float64
) -> State:
    """A state dictionary of g; with groups that of the release, whose last mapping layer is `final_style`."""

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=source, dtype=dtype)

    state: State = {}
    for index in range(1, depth + (0 if groups else 1)):
        state |= {f"style.{index}.weight": 100 * draw(size, size), f"style.{index}.bias": 10 * draw(size)}
    if groups:
        state |= {"final_style.weight": 100 * draw(2 * size, size), "final_style.bias": 10 * draw(2 * size)}
    state["input.input"] = draw(1, widths[0], 4, 4)

    def modulated(name: str, inputs: int, outputs: int, kernel: int, grouped: bool) -> None:
        state[f"{name}.conv.weight"] = draw(1, outputs, inputs, kernel, kernel)
        state[f"{name}.conv.modulation.weight"] = draw(inputs, size)
        state[f"{name}.conv.modulation.bias"] = 1 + 0.1 * draw(inputs)
        if grouped:
            state[f"{name}.conv.modulation_bases.weight"] = draw(groups, size)
            state[f"{name}.conv.modulation_bases.bias"] = 1 + 0.1 * draw(groups)
            state[f"{name}.conv.cluster"] = draw(groups, inputs)
            state[f"{name}.conv.gate"], state[f"{name}.conv.tmpr"] = -1 + 0.1 * draw(1), -2 + 0.1 * draw(1)

    def layer(name: str, inputs: int, outputs: int, grouped: bool) -> None:
        modulated(name, inputs, outputs, 3, grouped)
        state[f"{name}.noise.weight"], state[f"{name}.activate.bias"] = 0.2 * draw(1), 0.1 * draw(outputs)

    def to_rgb(name: str, inputs: int) -> None:
        modulated(name, inputs, 3, 1, False)
        state[f"{name}.bias"] = 0.1 * draw(1, 3, 1, 1)

    layer("conv1", widths[0], widths[0], False)
    to_rgb("to_rgb1", widths[0])
    state["noises.noise_0"] = draw(1, 1, 4, 4)
    for level, (inputs, outputs) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
        layer(f"convs.{2 * level}", inputs, outputs, bool(groups))
        state[f"convs.{2 * level}.conv.blur.kernel"] = 4 * BLUR.to(dtype)
        layer(f"convs.{2 * level + 1}", outputs, outputs, bool(groups))
        to_rgb(f"to_rgbs.{level}", outputs)
        state[f"to_rgbs.{level}.upsample.kernel"] = 4 * BLUR.to(dtype)
        for k in (2 * level + 1, 2 * level + 2):
            state[f"noises.noise_{k}"] = draw(1, 1, 8 << level, 8 << level)
    return state


def random_discriminator(
    widths: list[int], source: torch.Generator, codes: int | None = None, dtype: torch.dtype = torch.float64
) -> State:
    """A state dictionary of d; with the number of codes that of the release, whose last layer holds logit and codes."""

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=source, dtype=dtype)

    down, last = widths[::-1], widths[0]
    state: State = {"convs.0.0.weight": draw(down[0], 3, 1, 1), "convs.0.1.bias": 0.1 * draw(down[0])}
    for index, (inputs, outputs) in enumerate(zip(down[:-1], down[1:], strict=True), start=1):
        name = f"convs.{index}"
        state |= {f"{name}.conv1.0.weight": draw(inputs, inputs, 3, 3), f"{name}.conv1.1.bias": 0.1 * draw(inputs)}
        state |= {f"{name}.conv2.1.weight": draw(outputs, inputs, 3, 3), f"{name}.conv2.2.bias": 0.1 * draw(outputs)}
        state[f"{name}.skip.1.weight"] = draw(outputs, inputs, 1, 1)
        state |= {f"{name}.conv2.0.kernel": BLUR.to(dtype), f"{name}.skip.0.kernel": BLUR.to(dtype)}
    state |= {"final_conv.0.weight": draw(last, last + 1, 3, 3), "final_conv.1.bias": 0.1 * draw(last)}
    dense, head = ("final_linear.0", "final_linear.1") if codes is None else ("final_linear", "final_info_linear")
    rows = 1 + (codes or 0)
    state |= {f"{dense}.weight": draw(last, 16 * last), f"{dense}.bias": 0.1 * draw(last)}
    return state | {f"{head}.weight": draw(rows, last), f"{head}.bias": 0.1 * draw(rows)}


def random_checkpoint(
    widths: list[int], size: int = 8, depth: int = 8, groups: int = 0, seed: int = 0, dtype: torch.dtype = torch.float64
) -> dict[str, Any]:
    """A whole training checkpoint, optimisers and options included."""
    source = torch.Generator().manual_seed(seed)
    codes = 2 * size if groups else None
    moments = {"step": 3, "exp_avg": torch.zeros(3, dtype=dtype), "exp_avg_sq": torch.zeros(3, dtype=dtype)}
    optimizer = {"state": {0: moments}, "param_groups": [{"lr": 0.002, "betas": (0.0, 0.99), "params": [0]}]}
    return {
        "g": random_generator(widths, size, depth, source, groups, dtype),
        "d": random_discriminator(widths, source, codes, dtype),
        "g_ema": random_generator(widths, size, depth, source, groups, dtype),
        "g_optim": optimizer, "d_optim": optimizer, "ada_aug_p": 0.0,
        "args": argparse.Namespace(size=4 << (len(widths) - 1), channel_multiplier=2, lr=0.002, ckpt=None),
    }  # fmt: skip


def leaky(x: Tensor) -> Tensor:
    """sqrt(2) leaky_relu(x, 0.2)."""
    return math.sqrt(2) * torch.where(x > 0, x, 0.2 * x)


def blurred(x: Tensor, kernel: Tensor, before: int, after: int) -> Tensor:
    """Every channel convolved with a symmetric kernel after zero padding."""
    n, c, h, w = x.shape
    padded = F.pad(x, (before, after, before, after)).reshape(n * c, 1, h + before + after, w + before + after)
    y = F.conv2d(padded, kernel[None, None].to(x))
    return y.reshape(n, c, *y.shape[2:])


def mapping(state: State, z: Tensor) -> Tensor:
    """z -> w."""
    x = z / torch.sqrt(z.square().mean(dim=1, keepdim=True) + 1e-8)
    names = [name for index in range(1, 65) if f"{(name := f'style.{index}')}.weight" in state]
    for name in [*names, *(["final_style"] if "final_style.weight" in state else [])]:
        weight = state[f"{name}.weight"]
        x = leaky(x @ weight.T * 0.01 / math.sqrt(weight.shape[1]) + 0.01 * state[f"{name}.bias"])
    return x


def channel_scale(state: State, name: str, w: Tensor) -> Tensor:
    """The scale of every input channel of a layer: the style, or the release's f."""
    matrix = state[f"{name}.modulation.weight"]
    size = matrix.shape[1]
    z = w[:, -size:] @ matrix.T / math.sqrt(size) + state[f"{name}.modulation.bias"]
    if f"{name}.cluster" not in state:
        return z
    h = w[:, :size] @ state[f"{name}.modulation_bases.weight"].T / math.sqrt(size) + state[f"{name}.modulation_bases.bias"]
    cluster = state[f"{name}.cluster"]  # [G,I]
    soft = torch.softmax(cluster * 5 * torch.sigmoid(state[f"{name}.tmpr"]), dim=0)
    hard = torch.round(torch.softmax(500 * soft, dim=0)) + 1e-6
    f = torch.zeros_like(z)
    for group in range(len(cluster)):
        row = hard[group] * z
        f += h[:, group : group + 1] * row / row.norm(dim=1, keepdim=True).clamp_min(1e-12)
    return f


def modulated_convolution(state: State, name: str, x: Tensor, w: Tensor, demodulate: bool, up: bool) -> Tensor:
    """One weight per sample."""
    kernel = state[f"{name}.weight"][0]
    kernel = kernel / math.sqrt(kernel[0].numel())
    outputs = []
    for sample, scale in zip(x, channel_scale(state, name, w), strict=True):
        weight = kernel * scale[:, None, None]
        if demodulate:
            weight = weight / torch.sqrt(weight.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8)
        if up:
            y = F.conv_transpose2d(sample[None], weight.transpose(0, 1), stride=2)
            outputs.append(blurred(y, state[f"{name}.blur.kernel"], 1, 1))
        else:
            outputs.append(F.conv2d(sample[None], weight, padding=weight.shape[-1] // 2))
    return torch.cat(outputs)


def images_of(state: State, w: Tensor, noise: bool = True) -> Tensor:
    """w [N,D], one for all layers -> images with the file's noise, or with none."""

    def layer(name: str, x: Tensor, number: int, up: bool = False) -> Tensor:
        x = modulated_convolution(state, f"{name}.conv", x, w, True, up)
        if noise:
            x = x + state[f"{name}.noise.weight"] * state[f"noises.noise_{number}"]
        return leaky(x + state[f"{name}.activate.bias"][:, None, None])

    def rgb(name: str, x: Tensor) -> Tensor:
        return modulated_convolution(state, f"{name}.conv", x, w, False, False) + state[f"{name}.bias"]

    x = layer("conv1", state["input.input"].expand(len(w), -1, -1, -1), 0)
    image, level = rgb("to_rgb1", x), 0
    while f"to_rgbs.{level}.bias" in state:
        x = layer(f"convs.{2 * level}", x, 2 * level + 1, up=True)
        x = layer(f"convs.{2 * level + 1}", x, 2 * level + 2)
        larger = torch.zeros(len(w), 3, 2 * image.shape[2], 2 * image.shape[3], dtype=image.dtype)
        larger[:, :, ::2, ::2] = image
        image = rgb(f"to_rgbs.{level}", x) + blurred(larger, state[f"to_rgbs.{level}.upsample.kernel"], 2, 1)
        level += 1
    return image


def judged(state: State, images: Tensor) -> tuple[Tensor, Tensor | None]:
    """Logits [N], and the codes [N,D] of the release's discriminator."""

    def convolution(name: str, x: Tensor, padding: int = 0, stride: int = 1) -> Tensor:
        weight = state[f"{name}.weight"]
        return F.conv2d(x, weight / math.sqrt(weight[0].numel()), padding=padding, stride=stride)

    def biased(name: str, x: Tensor) -> Tensor:
        return leaky(x + state[f"{name}.bias"][:, None, None])

    x, index = biased("convs.0.1", convolution("convs.0.0", images)), 1
    while f"convs.{index}.skip.1.weight" in state:
        name = f"convs.{index}"
        y = biased(f"{name}.conv1.1", convolution(f"{name}.conv1.0", x, padding=1))
        y = convolution(f"{name}.conv2.1", blurred(y, state[f"{name}.conv2.0.kernel"], 2, 2), stride=2)
        y = biased(f"{name}.conv2.2", y)
        x = (y + convolution(f"{name}.skip.1", blurred(x, state[f"{name}.skip.0.kernel"], 1, 1), stride=2)) / math.sqrt(2)
        index += 1
    n, c, h, width = x.shape
    group = min(n, 4)
    groups = x.reshape(group, n // group, c, h, width)
    deviation = torch.sqrt(groups.var(dim=0, unbiased=False) + 1e-8).mean(dim=(1, 2, 3))
    x = torch.cat([x, deviation.repeat(group)[:, None, None, None].expand(n, 1, h, width)], dim=1)
    x = biased("final_conv.1", convolution("final_conv.0", x, padding=1)).flatten(1)
    release = "final_info_linear.weight" in state
    dense, head = ("final_linear", "final_info_linear") if release else ("final_linear.0", "final_linear.1")
    weight = state[f"{dense}.weight"]
    x = leaky(x @ weight.T / math.sqrt(weight.shape[1]) + state[f"{dense}.bias"])
    weight = state[f"{head}.weight"]
    y = x @ weight.T / math.sqrt(weight.shape[1]) + state[f"{head}.bias"]
    return y[:, 0], y[:, 1:] if release else None
