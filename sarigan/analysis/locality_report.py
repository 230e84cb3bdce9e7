"""Are edits of groups local? Where h_i + delta changes the image, against the same edit of random channel sets.

Delta_i(p) = E |G(h_i + delta_i) - G|, of edits that change the image by the same mean (`group_edits.py`);
lift_ik = (sum_{M_k} Delta_i / sum Delta_i) / (|M_k| / P): 1 is what an evenly spread change has;
spread_i = exp(entropy of Delta_i / sum Delta_i) / P per image: 1 is everywhere, 0 one pixel.
The report holds this score and that of `part_iou`, as one JSON record and as a sentence with chance beside every number.
Legend: N images, G groups, K parts, P positions.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sarigan.analysis.group_edits import GroupEdits, Judge, occupied_groups
from sarigan.analysis.part_iou import PartIoU, PartMasks
from sarigan.metrics.groups.permutation_null import NullTest, null_test, random_partitions
from sarigan.models.generator import Generator
from sarigan.progress import progress_bar


@dataclass
class EditLocality:
    """Where edits of one layer's groups fall."""

    share: Tensor  # [G,K]: the share of the change on each part; NaN for empty groups
    lift: Tensor  # [G,K]
    area: Tensor  # [K]: the share of the picture that each part covers
    best: NullTest  # mean over groups of max over parts of lift
    spread: NullTest  # minus the mean spread, so that higher is more local
    group_best: list[NullTest | None]


class PartChange:
    """Judges of edited images: on which parts their change falls, and how far it is spread."""

    def __init__(self, before: Tensor, masks: Tensor, num_parts: int) -> None:
        """before [N,3,R,R] and their masks int64 [N,R,R]."""
        self.before, self.weight = before, F.one_hot(masks, num_parts).float()
        self.area = self.weight.mean(dim=(0, 1, 2))

    def share(self, images: Tensor) -> Tensor:
        """The share of the change on each part [K]."""
        change = self._change(images)
        return torch.einsum("nhw,nhwk->k", change, self.weight) / change.sum()

    def spread(self, images: Tensor) -> Tensor:
        """exp(entropy) / P of the change, a mean over images: a scalar."""
        change = self._change(images)
        p = (change / change.sum(dim=(1, 2), keepdim=True).clamp_min(1e-12)).flatten(start_dim=1)
        return (torch.special.entr(p).sum(dim=1).exp() / p.shape[1]).mean()

    def judges(self) -> dict[str, Judge]:
        """Both, by name."""
        return {"share": self.share, "spread": self.spread}

    def lift(self, share: Tensor) -> Tensor:
        """Shares [...,K] over the parts' areas."""
        return share / self.area.clamp_min(1e-12)

    def best_lift(self, share: Tensor) -> Tensor:
        """The lift of the part that has the largest, of shares [...,K]."""
        return self.lift(share)[..., self.area > 0].amax(dim=-1)

    def _change(self, images: Tensor) -> Tensor:
        return (images - self.before).abs().mean(dim=1)


@torch.no_grad()
def edit_locality(
    generator: Generator, layer: str, latents: Tensor, masks: Tensor, num_parts: int, groups: Tensor, num_groups: int,
    num_partitions: int = 20, batch_size: int = 32, show_progress: bool = False,
) -> EditLocality:  # fmt: skip
    """latents [N,L,w_dim], masks int64 [N,R,R] of the unedited images with fixed noise, groups [C]."""
    edits = GroupEdits(generator, layer, latents, batch_size)
    judge = PartChange(edits.before, masks, num_parts)
    partitions = [groups.cpu(), *random_partitions(groups, num_partitions)]
    total = len(partitions) * len(occupied_groups(groups))
    with progress_bar(total=total, desc="edits", disable=not show_progress) as bar:
        answers = edits.judged(partitions, judge.judges(), bar.update)
    return locality_of(judge, answers, groups, num_groups)


def locality_of(judge: PartChange, answers: Mapping[str, Tensor], groups: Tensor, num_groups: int) -> EditLocality:
    """From the answers [1 + P,G',...] about the groups [C], which come first, and about P random partitions."""
    share, spread = answers["share"], answers["spread"].mean(dim=1).numpy()
    best, places = judge.best_lift(share).numpy(), occupied_groups(groups)
    full = torch.full((num_groups, share.shape[-1]), float("nan"))
    single: list[NullTest | None] = [None] * num_groups
    for row, group in enumerate(places):
        single[group] = null_test(float(best[0, row]), best[1:, row])
    return EditLocality(
        full.index_copy(0, torch.tensor(places), share[0]),
        full.index_copy(0, torch.tensor(places), judge.lift(share[0])),
        judge.area,
        null_test(float(best[0].mean()), best[1:].mean(axis=1)),
        null_test(-float(spread[0]), -spread[1:]),
        single,
    )


def locality_record(
    layer: str, num_images: int, groups: Tensor, iou: PartIoU, edits: EditLocality, masks: PartMasks
) -> dict[str, Any]:
    """Part IoU and edit locality of the groups of a layer as one record: tests, a row a group, the verdict."""
    return {
        "layer": layer,
        "num_images": num_images,
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
    for name, test, nulls in (("responses", iou.best, "permutations"), ("edits", edits.best, "partitions")):
        numbers = f"{test.score:.3g} against {test.null_mean:.3g} +- {test.null_deviation:.2g}, z {test.z:+.1f}, p {test.p:.3f}"
        numbers += f", {least}" if (least := test.least_p(nulls)) else ""
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
