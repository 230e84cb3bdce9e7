"""The part that each group of a layer matches best, as the paper's Fig. 3 has a person say it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sarigan.analysis.part_iou import PartIoU, part_iou
from sarigan.analysis.part_masks import PartMasks
from sarigan.models.generator import Generator
from sarigan.models.group_features import record_layer_inputs


@torch.no_grad()
def layer_features(generator: Generator, layers: Sequence[str], latents: Tensor, batch_size: int = 32) -> dict[str, Tensor]:
    """Inputs [N,C,H,W] of the layers' convolutions for latents [N,L,w_dim] under fixed noise, on the CPU."""
    parts: dict[str, list[Tensor]] = {name: [] for name in layers}
    with record_layer_inputs(generator, layers) as found:
        for part in latents.split(batch_size):
            generator.synthesize(part, "fixed")
            for name in layers:
                parts[name].append(found[name].float().cpu())
    return {name: torch.cat(chunks) for name, chunks in parts.items()}


def layer_part_iou(
    generator: Generator, layer: str, features: Tensor, masks: PartMasks, num_permutations: int = 1000,
    absolute: bool = True, show_progress: bool = False,
) -> PartIoU:  # fmt: skip
    """`part_iou` of the generator's own groups in a layer, features [N,C,H,W] of the images that the masks are of."""
    (grouping,) = [item.grouping for item in generator.grouped_layers() if item.name == layer]
    groups = grouping.membership().argmax(dim=1).cpu()
    return part_iou(
        features, masks.masks, len(masks.names), groups, grouping.num_groups, num_permutations, absolute, show_progress
    )


def best_labels(result: PartIoU, names: Sequence[str]) -> dict[int, str]:
    """`hair 0.31` for every group that holds channels, with an asterisk where random groups do as well (p > 0.05)."""
    labels = {}
    for group, test in enumerate(result.group_best):
        if test is not None:
            best = int(result.iou[group].argmax())
            labels[group] = f"{names[best]} {float(result.iou[group, best]):.2f}{'' if test.above_chance else '*'}"
    return labels
