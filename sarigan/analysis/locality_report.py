"""Are edits of groups local? Where h_i + delta changes the image, against the same edit of random channel sets.

Delta_i(p) = E |G(h_i + delta_i) - G|, delta_i found so that all sets change the image by the same mean;
lift_ik = (sum_{M_k} Delta_i / sum Delta_i) / (|M_k| / P): 1 is what an evenly spread change has;
spread_i = exp(entropy of Delta_i / sum Delta_i) / P per image: 1 is everywhere, 0 one pixel.
Every set, the model's own groups included, is edited through `Regrouping`: the same operation on other channels.
The report holds this score and that of `part_iou`, as one JSON record and as a sentence with chance beside every number.
Legend: N images, G groups, K parts, P positions.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sarigan.analysis.part_iou import PartIoU, PartMasks, layer_features, layer_part_iou
from sarigan.layers.intervention import Edit, Intervention, Regrouping
from sarigan.metrics.groups.permutation_null import NullTest, null_test, random_partitions
from sarigan.models.generator import Generator
from sarigan.progress import progress_bar

MEAN_CHANGE = 0.02  # of images in -1..1
NUM_CALIBRATION_IMAGES = 16
MAX_TRIALS = 10
TOLERANCE = 0.05  # of MEAN_CHANGE
MAX_DELTA = 1000.0


@dataclass
class EditLocality:
    """Where edits of one layer's groups fall."""

    share: Tensor  # [G,K]: the share of the change on each part; NaN for empty groups
    lift: Tensor  # [G,K]
    area: Tensor  # [K]: the share of the picture that each part covers
    best: NullTest  # mean over groups of max over parts of lift
    spread: NullTest  # minus the mean spread, so that higher is more local
    group_best: list[NullTest | None]


@torch.no_grad()
def edit_locality(
    generator: Generator, layer: str, latents: Tensor, masks: Tensor, num_parts: int, groups: Tensor, num_groups: int,
    num_partitions: int = 20, batch_size: int = 32, show_progress: bool = False,
) -> EditLocality:  # fmt: skip
    """latents [N,L,w_dim], masks int64 [N,R,R] of the unedited images with fixed noise, groups [C]."""
    occupied = (torch.bincount(groups, minlength=num_groups) > 0).nonzero().flatten().tolist()
    weight = F.one_hot(masks, num_parts).float()
    area = weight.mean(dim=(0, 1, 2))
    partitions = [groups.cpu(), *random_partitions(groups, num_partitions)]
    lifts, spreads, shares = [], [], []
    bar = progress_bar(total=len(partitions) * len(occupied), desc="edits", disable=not show_progress)
    before = _images(generator, latents, (), batch_size)  # regrouping alone changes nothing
    delta = 0.3
    for partition in partitions:
        regroup = Regrouping(layer, partition)
        share, spread = [], []
        for group in occupied:
            change, delta = _change_map(generator, regroup, group, latents, before, min(delta, 10.0), batch_size)
            share.append(torch.einsum("nhw,nhwk->k", change, weight) / change.sum())
            p = (change / change.sum(dim=(1, 2), keepdim=True).clamp_min(1e-12)).flatten(start_dim=1)
            spread.append((torch.special.entr(p).sum(dim=1).exp() / p.shape[1]).mean())
            bar.update()
        shares.append(torch.stack(share))
        lifts.append(torch.stack(share) / area.clamp_min(1e-12))
        spreads.append(float(torch.stack(spread).mean()))
    bar.close()
    best = torch.stack(lifts)[:, :, area > 0].amax(dim=2).numpy()
    full = torch.full((num_groups, num_parts), float("nan"))
    single: list[NullTest | None] = [None] * num_groups
    for row, group in enumerate(occupied):
        single[group] = null_test(float(best[0, row]), best[1:, row])
    return EditLocality(
        full.index_copy(0, torch.tensor(occupied), shares[0]),
        full.index_copy(0, torch.tensor(occupied), lifts[0]),
        area,
        null_test(float(best[0].mean()), best[1:].mean(axis=1)),
        null_test(-spreads[0], -np.array(spreads[1:])),
        single,
    )


def _change_map(
    generator: Generator, regroup: Regrouping, group: int, latents: Tensor, before: Tensor, start: float, batch_size: int
) -> tuple[Tensor, float]:
    """Mean |change| over colours [N,R,R] at the delta that changes the first images by MEAN_CHANGE on average, and delta."""
    few = NUM_CALIBRATION_IMAGES
    delta, low, high = start, 0.0, MAX_DELTA
    for _ in range(MAX_TRIALS):
        edited = _images(generator, latents[:few], [regroup, _shift(regroup.layer, group, delta)], batch_size)
        change = float((edited - before[:few]).abs().mean())
        if abs(change / MEAN_CHANGE - 1) < TOLERANCE or delta == MAX_DELTA:
            break
        low, high = (delta, high) if change < MEAN_CHANGE else (low, delta)
        # The change is nearly proportional to a small delta; where it is not, halve the bracket.
        delta = delta * MEAN_CHANGE / max(change, 1e-9)
        if not low < delta < high:
            delta = (low + high) / 2 if high < MAX_DELTA else min(8 * low, MAX_DELTA)
    edited = _images(generator, latents, [regroup, _shift(regroup.layer, group, delta)], batch_size)
    return (edited - before).abs().mean(dim=1), delta


def _shift(layer: str, group: int, delta: float) -> Intervention:
    return Intervention(layer, group, "h", "shift", float(delta), torch.ones(1))


def _images(generator: Generator, latents: Tensor, edits: Sequence[Edit], batch_size: int) -> Tensor:
    parts = [generator.synthesize(part, "fixed", edits).images.float().cpu() for part in latents.split(batch_size)]
    return torch.cat(parts)


def measure_locality(
    generator: Generator, layer: str, latents: torch.Tensor, masks: PartMasks,
    num_permutations: int = 1000, num_partitions: int = 20, batch_size: int = 32, show_progress: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Part IoU and edit locality of the groups of a layer, for latents [N,L,w_dim] whose images the masks are of."""
    features = layer_features(generator, [layer], latents, batch_size)[layer]
    iou = layer_part_iou(generator, layer, features, masks, num_permutations, show_progress=show_progress)
    grouping = generator.grouped_layer(layer).grouping
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
