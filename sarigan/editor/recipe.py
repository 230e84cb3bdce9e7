"""What makes a picture: seed, truncation, noise, class, and the list of edits. Immutable, so undo keeps the old one."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sarigan.editing.edit_file import FileEdit
from sarigan.editing.rendering import Sampling
from sarigan.editing.seeds import NOISES, noise_of_seeds
from sarigan.editor.changes import Change
from sarigan.errors import InputError
from sarigan.layers.intervention import LARGEST
from sarigan.models.generator import Generator
from sarigan.seeding import check_seed

MAX_TRUNCATION = 10.0


@dataclass(frozen=True, eq=False)
class Entry:
    """A change in the list, which can be switched off. `number` is its name in the page and never used twice.

    InputError for an amount that is not finite.
    """

    number: int
    change: Change
    is_on: bool = True

    def __post_init__(self) -> None:
        if not abs(self.change.amount) <= LARGEST:
            raise InputError(f"{self.change.text}: amount must be a finite number of 32 bits, got {self.change.amount}")


@dataclass(frozen=True, eq=False)
class Recipe:
    """All that a picture depends on beside the model. InputError for values that make none."""

    seed: int = 0
    truncation: float = 0.7
    noise: str = "fixed"  # of seeds.NOISES
    class_name: str | None = None  # None: drawn by the seed, or the model has no classes
    given: Tensor | None = None  # latents [1,L,w_dim] in place of the seed's, as a projection finds them
    entries: tuple[Entry, ...] = ()

    def __post_init__(self) -> None:
        check_seed("seed", self.seed)
        if self.noise not in NOISES:
            raise InputError(f"noise must be one of {', '.join(NOISES)}, got {self.noise!r}")
        if not abs(self.truncation) <= MAX_TRUNCATION:
            raise InputError(f"truncation must be from -{MAX_TRUNCATION:g} to {MAX_TRUNCATION:g}, got {self.truncation}")

    @property
    def sampling(self) -> Sampling:
        """How latents come from seeds."""
        classes = () if self.class_name is None else (self.class_name,)
        return Sampling(self.truncation, noise=self.noise, classes=classes)

    @property
    def changes(self) -> list[Change]:
        """Those that are switched on, in order."""
        return [entry.change for entry in self.entries if entry.is_on]

    @property
    def edits(self) -> list[FileEdit]:
        """Edits of codes, in order: what the edit file holds."""
        return [edit for change in self.changes for edit in change.edits]

    def base_latents(self, generator: Generator) -> Tensor:
        """Latents [1,L,w_dim] before any edit."""
        return self.sampling.latents(generator, [self.seed]) if self.given is None else self.given

    def latents(self, generator: Generator) -> Tensor:
        """Latents [1,L,w_dim] of the edited picture."""
        latents = self.base_latents(generator)
        for change in self.changes:
            latents = change.moved(generator, self.sampling, latents)
        return latents

    def is_of_seed(self, generator: Generator) -> bool:
        """Whether the seed's own latents make the picture, so that a command needs no file of latents."""
        return self.given is None and self.latents(generator).equal(self.base_latents(generator))

    def noise_maps(self, generator: Generator) -> list[Tensor | None]:
        """One [1,1,H,W] a layer. Fresh noise is the seed's; of other latents it is that of seed 0, as in `generate`."""
        is_of_seed = self.noise != "fresh" or self.is_of_seed(generator)
        with torch.no_grad():
            return noise_of_seeds(generator, self.noise, [self.seed if is_of_seed else 0])

    def without_edits(self) -> "Recipe":
        """The picture before the edits."""
        return replace(self, entries=())
