"""Steps whose loss or gradient is not finite: skipped on the device, counted there, and looked at only now and then.

A non-finite loss makes all its gradients NaN, and the reduction over ranks carries a NaN of one to all: every rank skips
the same update without a word between them. Adam is told by `found_inf`, as under loss scaling, and then changes nothing.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from sarigan.errors import InputError


class NonfiniteError(InputError):
    """Too many steps in a row were skipped, or weights are not finite."""


def poison_nonfinite(loss: Tensor, weight: float) -> Tensor:
    """weight * loss. NaN * loss where the loss is not finite, so that its gradients are NaN, too."""
    return loss * (0 * loss.detach() + weight)  # 0 * infinity is NaN


def all_finite(tensors: Sequence[Tensor]) -> Tensor:
    """Whether every entry of every tensor is finite: a boolean scalar on the device.

    The tensors are multiplied by one, with the operator of PyTorch's GradScaler: a thirtieth of the time of their norms.
    """
    device = tensors[0].device
    found = torch.zeros(1, device=device)
    torch._amp_foreach_non_finite_check_and_unscale_(list(tensors), found, torch.ones(1, device=device))
    return found[0] == 0


class NonfiniteCounter:
    """Counts on the device. `first` is 1 + step * number of phases + phase of the first one in a row, 0: none."""

    def __init__(self, phase_names: Sequence[str], device: torch.device) -> None:
        self.phase_names = list(phase_names)
        # skipped steps in all, skipped in a row now, most in a row, first of the longest row, first of the row now
        self.table = torch.zeros(5, dtype=torch.int64, device=device)
        self.num_skipped = 0  # steps in all, as of the last check
        self._not_skipped = torch.zeros((), dtype=torch.bool, device=device)
        self._skipped = [self._not_skipped] * len(self.phase_names)  # of the phases of this step

    def note(self, phase: int, skipped: Tensor) -> None:
        """One phase of a step; `skipped` a boolean scalar."""
        self._skipped[phase] = skipped

    def end_step(self, step: int) -> None:
        """Once after all phases of a step."""
        skipped = torch.stack(self._skipped)
        self._skipped = [self._not_skipped] * len(self.phase_names)
        bad = skipped.any()
        code = skipped.byte().argmax() + (1 + step * len(self.phase_names))  # of the first phase that was skipped
        total, row, longest, first_of_longest, first = self.table.unbind()
        first = torch.where(bad & (row == 0), code, first)
        row = (row + 1) * bad
        first_of_longest = torch.where(row > longest, first, first_of_longest)
        self.table = torch.stack([total + bad, row, torch.maximum(row, longest), first_of_longest, first])

    def total(self) -> int:
        """Skipped steps so far. Waits for the device."""
        return int(self.table[0])

    def check(self, most: int, weights: Sequence[Tensor]) -> bool:
        """Whether all weights are finite. Waits for the device, once.

        NonfiniteError naming the first step and phase when `most` steps in a row were skipped.
        """
        table = torch.cat([self.table, all_finite(weights)[None]]).tolist()
        self.num_skipped, _, longest, first, _, sound = table
        if longest < most:
            return bool(sound)
        step, phase = divmod(first - 1, len(self.phase_names))
        raise NonfiniteError(
            f"training: loss or gradient of phase {self.phase_names[phase]} became non-finite in step {step}, and"
            f" {longest} step(s) in a row were skipped (training.max_nonfinite_steps={most}); stopped before saving."
            " The last checkpoint is good; lower the learning rates, raise objective.r1_gamma, or use float32"
        )

    def reset(self) -> None:
        """Forget everything but the total, after going back to a checkpoint."""
        self.table[1:] = 0
        self._skipped = [self._not_skipped] * len(self.phase_names)
