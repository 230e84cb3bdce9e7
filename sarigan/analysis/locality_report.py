"""Both locality scores of one layer as one JSON record and as sentences (facts first, chance beside them)."""

from dataclasses import asdict
from typing import Any

import torch

from sarigan.analysis.edit_locality import EditLocality, edit_locality
from sarigan.analysis.part_iou import PartIoU, PartMasks, layer_features, layer_part_iou
from sarigan.metrics.groups.permutation_null import NullTest
from sarigan.models.generator import Generator


def measure_locality(
    generator: Generator, layer: str, latents: torch.Tensor, masks: PartMasks,
    num_permutations: int = 1000, num_partitions: int = 20, batch_size: int = 32, show_progress: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Part IoU and edit locality of the groups of a layer, for latents [N,L,w_dim] whose images the masks are of."""
    features = layer_features(generator, [layer], latents, batch_size)[layer]
    iou = layer_part_iou(generator, layer, features, masks, num_permutations, show_progress=show_progress)
    (grouping,) = [item.grouping for item in generator.grouped_layers() if item.name == layer]
    groups = grouping.membership().argmax(dim=1).cpu()
    edits = edit_locality(
        generator, layer, latents, masks.masks, len(masks.names), groups, grouping.num_groups,
        num_partitions, batch_size, show_progress,
    )  # fmt: skip
    return {
        "layer": layer,
        "num_images": len(latents),
        "parts": list(masks.names),
        "masks": masks.source,
        "area": _rounded(edits.area),
        "tests": {
            "part IoU, mean over groups of the best part": asdict(iou.best),
            "part IoU, one-to-one assignment": asdict(iou.assigned),
            "edit lift, mean over groups of the best part": asdict(edits.best),
            "minus edit spread": asdict(edits.spread),
        },
        "groups": _group_rows(groups, iou, edits, masks),
        "verdict": verdict(layer, iou, edits),
    }


def verdict(layer: str, iou: PartIoU, edits: EditLocality) -> str:
    """Whether the groups are more local than chance, in one or two sentences."""
    texts = []
    for name, test in (("responses", iou.best), ("edits", edits.best)):
        numbers = f"{test.score:.3g} against {test.null_mean:.3g} +- {test.null_deviation:.2g}, z {test.z:+.1f}, p {test.p:.3f}"
        more = "more local than" if test.above_chance else "not more local than"
        kind = "best part IoU" if name == "responses" else "best part lift"
        texts.append(f"{name} of the groups of {layer} are {more} those of random groups of equal sizes ({kind} {numbers})")
    text = "; ".join(texts)
    return f"{text[0].upper()}{text[1:]}."


def _group_rows(groups: torch.Tensor, iou: PartIoU, edits: EditLocality, masks: PartMasks) -> list[dict[str, Any]]:
    rows = []
    for group in iou.occupied.nonzero().flatten().tolist():
        responds, changes = int(iou.iou[group].argmax()), int(edits.lift[group].nan_to_num().argmax())
        rows.append(
            {
                "group": group,
                "channels": int((groups == group).sum()),
                "responds_to": masks.names[responds],
                "iou": round(float(iou.iou[group, responds]), 4),
                "iou_test": _short(iou.group_best[group]),
                "changes": masks.names[changes],
                "lift": round(float(edits.lift[group, changes]), 3),
                "lift_test": _short(edits.group_best[group]),
                "share_of_change": _rounded(edits.share[group]),
            }
        )
    return rows


def _short(test: NullTest | None) -> dict[str, float] | None:
    return None if test is None else {"null_mean": round(test.null_mean, 4), "z": round(test.z, 2), "p": round(test.p, 4)}


def _rounded(values: torch.Tensor) -> list[float]:
    return [round(float(value), 4) for value in values]
