"""Steps whose loss or gradient is not finite: skipped on the device, counted there, and looked at only now and then.

A non-finite loss makes all its gradients NaN, and the reduction over ranks carries a NaN of one to all: every rank skips
the same update without a word between them. Adam is told by `found_inf`, as under loss scaling, and then changes nothing.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sarigan.errors import InputError


class NonfiniteError(InputError):
    """Too many steps in a row were skipped, or the weights are spoilt already."""


def poison_nonfinite(loss: Tensor) -> Tensor:
    """The loss itself; one that is not finite, times NaN, so that its gradients are NaN too."""
    return loss * torch.where(torch.isfinite(loss.detach()), 1.0, float("nan")).to(loss.dtype)


def gradients_are_finite(parameters: Sequence[nn.Parameter]) -> Tensor:
    """Whether every gradient entry is finite: a boolean scalar on the device."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return torch.stack(torch._foreach_norm(gradients, float("inf"))).isfinite().all()


class NonfiniteCounter:
    """Counts on the device. `first` is 1 + step * number of phases + phase of the first one in a row, 0: none."""

    def __init__(self, phase_names: Sequence[str], device: torch.device) -> None:
        self.phase_names = list(phase_names)
        # skipped steps in all, skipped in a row now, most in a row, first of the longest row, first of the row now
        self.table = torch.zeros(5, dtype=torch.int64, device=device)
        self.bad_step = torch.zeros((), dtype=torch.int64, device=device)

    def note(self, step: int, phase: int, finite: Tensor) -> None:
        """One phase of a step; `finite` a boolean scalar."""
        code = 1 + step * len(self.phase_names) + phase
        self.bad_step = torch.where((self.bad_step == 0) & ~finite, code, self.bad_step)

    def end_step(self) -> None:
        """Once after all phases of a step."""
        bad = self.bad_step > 0
        total, row, longest, first_of_longest, first = self.table.unbind()
        first = torch.where(bad & (row == 0), self.bad_step, first)
        row = torch.where(bad, row + 1, 0)
        first_of_longest = torch.where(row > longest, first, first_of_longest)
        self.table = torch.stack([total + bad, row, torch.maximum(row, longest), first_of_longest, first])
        self.bad_step = torch.zeros_like(self.bad_step)

    def total(self) -> int:
        """Skipped steps so far. Waits for the device."""
        return int(self.table[0])

    def check(self, most: int) -> None:
        """NonfiniteError naming the first step and phase when `most` steps in a row were skipped. Waits for the device."""
        _, _, longest, first, _ = self.table.tolist()
        if longest < most:
            return
        step, phase = divmod(first - 1, len(self.phase_names))
        raise NonfiniteError(
            f"training: loss or gradient of phase {self.phase_names[phase]} became non-finite in step {step}, and"
            f" {longest} step(s) in a row were skipped (training.max_nonfinite_steps={most}); stopped before saving."
            " The last checkpoint is good; lower the learning rates, raise objective.r1_gamma, or use float32"
        )

    def reset(self) -> None:
        """Forget everything but the total, after going back to a checkpoint."""
        self.table[1:] = 0
        self.bad_step = torch.zeros_like(self.bad_step)
