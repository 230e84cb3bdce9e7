"""How the images of a step are cut over processes and rounds: batch = ranks * rounds * images a pass.

The batch is always the total. Position p of it goes to shard p mod S, S = ranks * rounds; rank r has shards
r * rounds ... r * rounds + rounds - 1. Gradients, the minibatch standard deviation included, do not depend on the cut as
long as a shard is a multiple of the group size of that layer (`sarigan.models.discriminator`).
"""

from dataclasses import dataclass

from sarigan.errors import InputError
from sarigan.training.config import TrainingConfig


@dataclass(frozen=True)
class BatchPlan:
    """How the steps of one run are cut."""

    batch_size: int
    num_ranks: int
    num_rounds: int

    @property
    def images_per_pass(self) -> int:
        """Images of one shard: what one process puts through a network at once."""
        return self.batch_size // (self.num_ranks * self.num_rounds)

    def describe(self) -> str:
        """The arithmetic in one line."""
        return (
            f"{self.batch_size} images a step = {self.num_ranks} process(es) x {self.num_rounds} round(s)"
            f" x {self.images_per_pass} images"
        )

    def warning(self, shard_multiple: int) -> str | None:
        """A line when statistics over a pass (minibatch deviation, batch norm) see other groups than in an uncut batch."""
        if self.batch_size == self.images_per_pass or self.images_per_pass % shard_multiple == 0:
            return None
        return (
            f"warning: shards of {self.images_per_pass} images are no multiple of {shard_multiple}, the group of its"
            " minibatch statistics: the result depends on the number of processes and rounds"
        )


def plan_batch(training: TrainingConfig, num_ranks: int) -> BatchPlan:
    """The cut for a number of processes: `accumulation_rounds`, or more where `max_images_per_pass` asks for it.

    InputError naming the field when the batch cannot be dealt out evenly.
    """
    batch, rounds = training.batch_size, training.accumulation_rounds
    if training.images_per_rank is not None and training.images_per_rank * num_ranks != batch:
        whole = batch % training.images_per_rank == 0
        remedy = f"start {batch // training.images_per_rank} process(es), or leave" if whole else "leave"
        raise InputError(
            f"training.images_per_rank={training.images_per_rank} on {num_ranks} process(es) makes"
            f" {training.images_per_rank * num_ranks} images a step, training.batch_size is {batch}: {remedy}"
            " images_per_rank null to let it follow"
        )
    if batch % (num_ranks * rounds):
        unit = num_ranks * rounds
        near = sorted({max(1, batch // unit) * unit, (batch // unit + 1) * unit})
        raise InputError(
            f"training.batch_size must be divisible by {num_ranks} process(es) x {rounds} round(s) = {unit}, got {batch};"
            f" near it: {' or '.join(map(str, near))}"
        )
    per_rank = batch // num_ranks
    limit = training.max_images_per_pass
    while limit is not None and per_rank // rounds > limit:
        rounds = next(r for r in range(rounds + 1, per_rank + 1) if per_rank % r == 0)
    return BatchPlan(batch, num_ranks, rounds)
