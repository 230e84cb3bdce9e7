"""The arithmetic of a batch over processes and rounds."""

from collections.abc import Callable
from typing import Any

import pytest

from sarigan.errors import InputError
from sarigan.training.batch_plan import plan_batch
from sarigan.training.config import TrainingConfig

Build = Callable[..., Any]


@pytest.mark.parametrize(
    ("fields", "ranks", "rounds", "images"),
    [
        ({"batch_size": 32}, 1, 1, 32),
        ({"batch_size": 32}, 8, 1, 4),
        ({"batch_size": 32, "accumulation_rounds": 2}, 4, 2, 4),
        ({"batch_size": 32, "max_images_per_pass": 8}, 1, 4, 8),
        ({"batch_size": 32, "max_images_per_pass": 8}, 4, 1, 8),
        ({"batch_size": 32, "max_images_per_pass": 7}, 4, 2, 4),
        ({"batch_size": 48, "max_images_per_pass": 9}, 2, 3, 8),
        ({"batch_size": 32, "max_images_per_pass": 1}, 2, 16, 1),
        ({"batch_size": 32, "images_per_rank": 4}, 8, 1, 4),
        ({"batch_size": 32, "images_per_rank": 4, "max_images_per_pass": 2}, 8, 2, 2),
    ],
)
def test_plans(fields: dict[str, int], ranks: int, rounds: int, images: int) -> None:
    plan = plan_batch(TrainingConfig(**fields), ranks)
    assert (plan.num_rounds, plan.images_per_pass) == (rounds, images)
    assert plan.num_ranks * plan.num_rounds * plan.images_per_pass == plan.batch_size == fields["batch_size"]


@pytest.mark.parametrize(
    ("fields", "ranks", "line"),
    [
        ({"batch_size": 30}, 4, "must be divisible by 4 process(es) x 1 round(s) = 4, got 30; near it: 28 or 32"),
        ({"batch_size": 32, "accumulation_rounds": 2}, 5, "5 process(es) x 2 round(s) = 10, got 32; near it: 30 or 40"),
        ({"batch_size": 32, "images_per_rank": 4}, 4, "training.images_per_rank=4 on 4 process(es) makes 16 images a step,"
         " training.batch_size is 32: start 8 process(es)"),
    ],
)  # fmt: skip
def test_what_does_not_divide_is_one_line(fields: dict[str, int], ranks: int, line: str) -> None:
    with pytest.raises(InputError) as caught:
        plan_batch(TrainingConfig(**fields), ranks)
    assert line in str(caught.value) and "\n" not in str(caught.value)


def test_a_shard_that_cuts_groups_is_warned_of() -> None:
    assert plan_batch(TrainingConfig(batch_size=32), 8).warning(4) is None
    assert plan_batch(TrainingConfig(batch_size=2), 1).warning(4) is None  # uncut
    warning = plan_batch(TrainingConfig(batch_size=32), 16).warning(4)
    assert warning is not None and "shards of 2 images" in warning
