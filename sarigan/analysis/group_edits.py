"""Edits of the groups of any partition of a layer's channels, all equally strong, and what judges say of the images.

Edit i is h_i + delta_i (`PartitionShift`), delta_i found so that the images change by the same mean. The model's own groups are
edited in this way, too: what differs between two partitions is which channels are together, and nothing else.
Legend: N images, G groups.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from sarigan.layers.intervention import Edit, PartitionShift
from sarigan.models.generator import Generator

MEAN_CHANGE = 0.02  # of images in -1..1
NUM_CALIBRATION_IMAGES = 16
MAX_TRIALS = 10
TOLERANCE = 0.05  # of MEAN_CHANGE
MAX_DELTA = 1000.0
FIRST_DELTA = 0.3

Judge = Callable[[Tensor], Tensor]  # images [N,3,R,R] -> its answer, of any shape


class GroupEdits:
    """Images of latents [N,L,w_dim] with fixed noise, before and under an edit of one group of a partition of a layer."""

    @torch.no_grad()
    def __init__(self, generator: Generator, layer: str, latents: Tensor, batch_size: int = 32) -> None:
        self.generator, self.layer, self.latents, self.batch_size = generator, layer, latents, batch_size
        self.before = self._images(latents, ())
        self.delta = FIRST_DELTA  # the last one found, where the next search starts

    @torch.no_grad()
    def images(self, groups: Tensor, group: int) -> Tensor:
        """[N,3,R,R] with a group of groups [c] edited so that the first images change by MEAN_CHANGE on average."""
        few = NUM_CALIBRATION_IMAGES
        delta, low, high = min(self.delta, 10.0), 0.0, MAX_DELTA
        for _ in range(MAX_TRIALS):
            edited = self._images(self.latents[:few], [PartitionShift(self.layer, groups, group, delta)])
            change = float((edited - self.before[:few]).abs().mean())
            if abs(change / MEAN_CHANGE - 1) < TOLERANCE or delta == MAX_DELTA:
                break
            low, high = (delta, high) if change < MEAN_CHANGE else (low, delta)
            # The change is nearly proportional to a small delta; where it is not, halve the bracket.
            delta = delta * MEAN_CHANGE / max(change, 1e-9)
            if not low < delta < high:
                delta = (low + high) / 2 if high < MAX_DELTA else min(8 * low, MAX_DELTA)
        self.delta = delta
        return self._images(self.latents, [PartitionShift(self.layer, groups, group, delta)])

    def judged(
        self, partitions: Sequence[Tensor], judges: Mapping[str, Judge], advance: Callable[[int], object] = lambda count: None
    ) -> dict[str, Tensor]:
        """Every judge's answers [P,G,...] about edits of the G occupied groups of P partitions [c] of equal sizes."""
        occupied = occupied_groups(partitions[0])
        answers: dict[str, list[Tensor]] = {name: [] for name in judges}
        for partition in partitions:
            for group in occupied:
                images = self.images(partition, group)
                for name, judge in judges.items():
                    answers[name].append(judge(images))
                advance(1)
        shape = (len(partitions), len(occupied))
        return {name: torch.stack(found).unflatten(0, shape) for name, found in answers.items()}

    def _images(self, latents: Tensor, edits: Sequence[Edit]) -> Tensor:
        parts = latents.split(self.batch_size)
        return torch.cat([self.generator.synthesize(part, "fixed", edits).images.float().cpu() for part in parts])


def occupied_groups(groups: Tensor) -> list[int]:
    """The groups that hold channels, of groups [c], in ascending order."""
    found: list[int] = groups.unique().tolist()
    return found
