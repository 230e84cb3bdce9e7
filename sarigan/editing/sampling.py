"""How images are made of seeds: truncation, noise, batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from sarigan.editing.rendering import render, rendered_batches
from sarigan.editing.seeds import LatentSource, SeedLatents, latents_of_seeds
from sarigan.layers.intervention import Intervention
from sarigan.models.generator import Generator


@dataclass(frozen=True)
class Sampling:
    """How images are made from latents."""

    truncation_psi: float = 0.7
    truncation_cutoff: int | None = None
    noise: str = "fixed"  # of seeds.NOISES
    batch_size: int = 16

    def latents(self, generator: Generator, seeds: Sequence[int]) -> Tensor:
        """[N,L,w_dim], truncated."""
        return latents_of_seeds(generator, seeds, self.truncation_psi, self.truncation_cutoff)

    def latents_on_demand(self, generator: Generator, seeds: Sequence[int]) -> SeedLatents:
        """`latents`, each slice made when it is asked for."""
        return SeedLatents(generator, seeds, self.truncation_psi, self.truncation_cutoff)

    def render(
        self, generator: Generator, latents: LatentSource, seeds: Sequence[int] | None = None,
        interventions: Sequence[Intervention] = (), description: str | None = None,
    ) -> Tensor:  # fmt: skip
        """Images [N,3,R,R] of latents [N,L,w_dim]."""
        return render(generator, latents, self.noise, seeds, interventions, self.batch_size, description)

    def batches(
        self, generator: Generator, latents: LatentSource, seeds: Sequence[int] | None = None,
        interventions: Sequence[Intervention] = (), description: str | None = None,
    ) -> Iterator[Tensor]:  # fmt: skip
        """The same images, `batch_size` at a time."""
        return rendered_batches(generator, latents, self.noise, seeds, interventions, self.batch_size, description)
