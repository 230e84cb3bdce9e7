"""What a step keeps count of on the device, against Python's own counting: means of scalars, steps that were skipped."""

import math
import random

import pytest
import torch
from torch import Tensor

from sarigan.training.nonfinite import NonfiniteCounter, NonfiniteError, poison_nonfinite
from sarigan.training.scalars import ScalarSums


def scalars(**values: float) -> dict[str, Tensor]:
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}


def test_means_weigh_rounds_and_leave_out_what_was_skipped_or_weighs_nothing() -> None:
    sums = ScalarSums()
    for numbers, skip in (((1.0, 4.0), False), ((math.nan, 7.0), True), ((2.0, 6.0), False)):
        phase = ScalarSums()
        phase.add(scalars(a=numbers[0], b=10 * numbers[0]), 0.5)
        phase.add(scalars(a=numbers[1], b=10 * numbers[1]), 1.5)
        phase.add(scalars(a=math.inf, b=math.nan), 0.0)
        sums.merge(phase, torch.tensor(skip))
    expected = (0.5 * 1 + 1.5 * 4 + 0.5 * 2 + 1.5 * 6) / 4
    assert sums.means() == pytest.approx({"a": expected, "b": 10 * expected}, rel=1e-14)
    assert sums.means() == {}


def test_a_scalar_that_comes_in_some_steps_only_is_the_mean_over_those() -> None:
    sums = ScalarSums()
    for step in range(4):
        phase = ScalarSums()
        phase.add(scalars(loss=step, mse=10 * step) if step % 2 else scalars(loss=step))
        sums.merge(phase, torch.tensor(False))
    assert sums.means() == {"loss": 1.5, "mse": 20.0}


def test_means_of_a_phase_leave_its_sums() -> None:
    sums = ScalarSums()
    sums.add(scalars(length=3.0), 0.5)
    sums.add(scalars(length=6.0), 1.0)
    assert float(sums.reduced_means()["length"]) == 5 and float(sums.reduced_means()["length"]) == 5
    assert sums.means() == {"length": 5.0}


@pytest.mark.parametrize(("loss", "gradient"), [(2.0, 0.25), (math.inf, math.nan), (math.nan, math.nan)])
def test_the_gradients_of_a_loss_that_is_not_finite_are_not_either(loss: float, gradient: float) -> None:
    x = torch.tensor(loss, requires_grad=True)
    poisoned = poison_nonfinite(x, 0.25)
    poisoned.backward()
    assert poisoned.item() == 0.5 or math.isnan(gradient)
    assert x.grad is not None and float(x.grad) == pytest.approx(gradient, nan_ok=True)


def test_skipped_steps_are_counted_and_the_first_of_the_longest_row_is_named() -> None:
    names, draw = ["discriminator", "r1", "generator"], random.Random(0)
    counter = NonfiniteCounter(names, torch.device("cpu"))
    row: list[tuple[int, str]] = []
    longest: list[tuple[int, str]] = []
    total = 0
    for step in range(200):
        due = [0, 2] if step % 4 else [0, 1, 2]
        bad = [phase for phase in due if draw.random() < 0.3]
        for phase in due:
            counter.note(phase, torch.tensor(phase in bad))
        counter.end_step(step)
        total += bool(bad)
        row = [*row, (step, names[bad[0]])] if bad else []
        longest = max(longest, row, key=len)  # the earlier of two as long
    assert len(longest) > 2 and counter.total() == total
    weights = [torch.ones(3)]
    assert counter.check(len(longest) + 1, weights) and counter.num_skipped == total
    assert not counter.check(len(longest) + 1, [*weights, torch.tensor([1.0, math.nan])])
    assert not counter.check(len(longest) + 1, [*weights, torch.tensor([-math.inf])])
    step, phase = longest[0]
    line = f"phase {phase} became non-finite in step {step}, and {len(longest)} "
    with pytest.raises(NonfiniteError, match=line.replace("(", r"\(")):
        counter.check(len(longest), weights)
    counter.reset()
    assert counter.check(1, weights) and counter.total() == total
