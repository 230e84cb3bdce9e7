"""What each group responds to (SariGAN Fig. 3): mean feature maps of groups, upsampled and laid over the images."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from sarigan.editing.rendering import Sampling, group_responses, record_layer_inputs
from sarigan.layers.intervention import check_place
from sarigan.models.generator import Generator
from sarigan.visualization.sheet import Picture, heat_colors, make_sheet, pictures


@torch.no_grad()
def response_maps(
    generator: Generator, sampling: Sampling, seeds: Sequence[int], layer: str, absolute: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Images [N,3,R,R], responses [N,G,H,W] of the groups of a layer in its own resolution, and group sizes [G]."""
    check_place(layer, None, generator.synthesis.num_groups())
    member = generator.grouped_layer(layer).grouping.membership()
    latents = sampling.latents(generator, seeds)
    images, responses = [], []
    with record_layer_inputs(generator, [layer]) as found:
        for start in range(0, len(seeds), sampling.batch_size):
            part = slice(start, start + sampling.batch_size)
            images.append(sampling.render(generator, latents[part], seeds[part]))
            responses.append(group_responses(found[layer].float(), member, absolute).cpu())
    return torch.cat(images), torch.cat(responses), member.sum(dim=0).long().cpu()


def attention_sheet(
    generator: Generator,
    sampling: Sampling,
    seeds: Sequence[int],
    layer: str,
    absolute: bool = False,
    labels: dict[int, str] | None = None,
    note: str = "",
) -> Image.Image:
    """A row a group that holds channels, a column an image. Every group's colours run from its own 1% to its 99% quantile."""
    images, responses, sizes = response_maps(generator, sampling, seeds, layer, absolute)
    maps = stretch(upsample_maps(responses, images.shape[-1]))
    originals = pictures(images)
    rows: list[list[Picture]] = [list(originals)]
    names = ["image"]
    for group, size in enumerate(sizes.tolist()):
        if size == 0:
            continue
        rows.append([heat_overlay(image, maps[n, group].numpy()) for n, image in enumerate(originals)])
        label = f"\n{labels[group]}" if labels and group in labels else ""
        names.append(f"group {group} ({size} ch){label}")
    kind = "mean absolute feature" if absolute else "mean feature"
    empty = int((sizes == 0).sum())
    caption = (
        f"The {kind} of each group, at the input of the layer's convolution ({responses.shape[-1]} px); dark is its 1%,"
        f" bright its 99% quantile over these images.{f' {empty} groups are empty.' if empty else ''} {note}"
    )
    return make_sheet(
        rows, [f"seed {seed}" for seed in seeds], names, f"What the groups of {layer} respond to", caption, separate_rows=[0],
        color_bar=("the group's 1% quantile", "its 99% quantile"),
    )  # fmt: skip


def heat_overlay(picture: np.ndarray, values: np.ndarray, opacity: float = 0.62) -> np.ndarray:
    """Heat over the greyscale of a picture uint8 [H,W,3]; values [H,W] in 0..1, strongest where they are high."""
    grey = picture.astype(np.float64).mean(axis=2, keepdims=True).repeat(3, axis=2)
    return ((1 - opacity) * grey + opacity * heat_colors(values)).round().astype(np.uint8)


def upsample_maps(maps: Tensor, size: int) -> Tensor:
    """[N,K,H,W] -> [N,K,size,size], bilinear; averaged where the size is smaller."""
    if maps.shape[-1] >= size:
        return F.adaptive_avg_pool2d(maps, size)
    return F.interpolate(maps, size=(size, size), mode="bilinear", align_corners=False)


def stretch(maps: Tensor, low: float = 0.01, high: float = 0.99) -> Tensor:
    """[N,K,H,W] -> 0..1, from the low to the high quantile of every map index K over all N images."""
    flat = maps.transpose(0, 1).flatten(start_dim=1)
    bounds = torch.quantile(flat.float(), torch.tensor([low, high], device=maps.device), dim=1)
    lower, upper = bounds[0][None, :, None, None], bounds[1][None, :, None, None]
    return ((maps - lower) / (upper - lower).clamp_min(1e-12)).clamp(0, 1)
