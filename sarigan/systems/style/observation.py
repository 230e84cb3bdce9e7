"""What the channels of the generator do, shown to the groupings that ask for it (kind `activation`) before each of their steps.

A pass of its own, without gradient: no pass of a loss stores anything, so neither rounds nor processes on a CPU nor DDP change
what is seen. Latents are drawn for the whole batch and dealt to ranks and rounds as those of a phase; moments add up.
"""

import torch
from torch import Tensor

from sarigan import distributed
from sarigan.editing.rendering import record_layer_inputs
from sarigan.layers.feature_correlation import feature_moments
from sarigan.layers.normalization import full_precision
from sarigan.models.generator import Generator
from sarigan.systems.style.draws import StyleRandomness


class FeatureObservation:
    """Moments of the inputs of the grouped layers, over `batch_size` images a call and all ranks."""

    def __init__(
        self, generator: Generator, average: Generator, randomness: StyleRandomness, batch_size: int,
        autocast_dtype: torch.dtype | None,
    ) -> None:  # fmt: skip
        self.generator, self.randomness = generator, randomness
        self.batch_size, self.autocast_dtype = batch_size, autocast_dtype
        pairs = zip(generator.grouped_layers(), average.grouped_layers(), strict=True)
        # Buffers are not averaged: the averaged generator's groupings observe the same.
        self.groupings = {a.name: (a.grouping, b.grouping) for a, b in pairs if a.grouping.needs_features}

    @torch.no_grad()
    def __call__(self, step: int, num_rounds: int) -> None:
        """Show the features of a step's images, in as many passes as the batch is cut into."""
        if not self.groupings:
            return
        draws = self.randomness.draw("features", step, self.batch_size)
        sums: dict[str, Tensor] = {}
        for part in range(num_rounds):
            drawn = draws.shard(distributed.rank() * num_rounds + part, distributed.world_size() * num_rounds)
            device = drawn.z.device.type
            with (
                torch.autocast(device, dtype=self.autocast_dtype, enabled=self.autocast_dtype is not None),
                record_layer_inputs(self.generator, list(self.groupings)) as found,
            ):
                self.generator(drawn.z, mixing=drawn.mixing, noise=drawn.noise, labels=drawn.labels)
            for name in self.groupings:
                moments = feature_moments(full_precision(found[name]))
                sums[name] = sums[name] + moments if name in sums else moments
        for name, groupings in self.groupings.items():
            total = distributed.sum_over_ranks(sums[name])
            for grouping in groupings:
                grouping.observe(total)
