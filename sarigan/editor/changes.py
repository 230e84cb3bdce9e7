"""What a person can change: one entry of the list of edits. Each kind says which latents and which codes it changes.

A kind is a frozen class with `amount`; 0 to 1 is from nothing to all of a mixing. `faded` goes from nothing (0) to the
change itself (1), for films between two states.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from sarigan.editing.edit_file import FileEdit
from sarigan.editing.factorization import moved
from sarigan.editing.group_editing import latent_range, mix_halves, mix_layers
from sarigan.editing.rendering import Sampling
from sarigan.errors import InputError
from sarigan.models.generator import Generator


class Change(Protocol):
    """One change; amounts are kept by `with_amount`."""

    @property
    def amount(self) -> float:
        """How much of it."""

    @property
    def text(self) -> str:
        """For a person, without the amount."""

    @property
    def place(self) -> str:
        """What it acts on: a second change of the same place takes the place of the first in the list."""

    @property
    def edits(self) -> Sequence[FileEdit]:
        """What it does to codes."""

    def moved(self, generator: Generator, sampling: Sampling, latents: Tensor) -> Tensor:
        """What it does to latents [1,L,w_dim]; the same tensor when that is nothing."""

    def with_amount(self, amount: float) -> "Change":
        """The same change, more or less of it."""

    def faded(self, share: float) -> "Change":
        """From nothing (0) to the change itself (1), exact at both ends."""


@dataclass(frozen=True, eq=False)
class CodeChange:
    """Edits of codes that share one amount: of one group, of one channel, or all codes that a projection found."""

    edits: tuple[FileEdit, ...]
    text: str
    place: str

    def __post_init__(self) -> None:
        if not self.edits:
            raise InputError(f"{self.text}: holds no edit")

    @property
    def amount(self) -> float:
        return self.edits[0].amount

    def moved(self, generator: Generator, sampling: Sampling, latents: Tensor) -> Tensor:
        return latents

    def with_amount(self, amount: float) -> "CodeChange":
        return replace(self, edits=tuple(replace(edit, amount=amount) for edit in self.edits))

    def faded(self, share: float) -> "CodeChange":
        # Scaling by 1 changes no bit; moving or shifting by 0 neither.
        def part(edit: FileEdit) -> float:
            if share == 1.0:
                return edit.amount
            return 1 + (edit.amount - 1) * share if edit.operation == "scale" else edit.amount * share

        return replace(self, edits=tuple(replace(edit, amount=part(edit)) for edit in self.edits))


@dataclass(frozen=True, eq=False)
class LatentChange(ABC):
    """Base of the changes of latents, which touch no code."""

    amount: float
    edits = ()

    def with_amount(self, amount: float) -> "LatentChange":
        return replace(self, amount=amount)

    def faded(self, share: float) -> "LatentChange":
        return replace(self, amount=self.amount * share)

    @property
    @abstractmethod
    def text(self) -> str:
        """For a person, without the amount."""

    @property
    def place(self) -> str:
        return self.text

    @abstractmethod
    def moved(self, generator: Generator, sampling: Sampling, latents: Tensor) -> Tensor:
        """Latents [1,L,w_dim] after the change."""


@dataclass(frozen=True, eq=False)
class Mixing(LatentChange):
    """`amount` of the way to the latents of a second seed, as far as `target` takes them over."""

    seed: int

    def moved(self, generator: Generator, sampling: Sampling, latents: Tensor) -> Tensor:
        with torch.no_grad():
            other = sampling.latents(generator, [self.seed])
            return torch.lerp(latents, self.target(generator, latents, other), self.amount)  # exact at both ends

    @abstractmethod
    def target(self, generator: Generator, latents: Tensor, other: Tensor) -> Tensor:
        """Latents [1,L,w_dim] at amount 1; `other` are those of the second seed."""


@dataclass(frozen=True, eq=False)
class LayerMixing(Mixing):
    """The latents of a range of resolutions from a second seed (Karras et al. 2019). layers: as `latent_range` takes them."""

    layers: str

    @property
    def text(self) -> str:
        return f"style of seed {self.seed} in {self.layers} layers"

    def target(self, generator: Generator, latents: Tensor, other: Tensor) -> Tensor:
        return mix_layers(latents, other, latent_range(generator, self.layers))


@dataclass(frozen=True, eq=False)
class HalfMixing(Mixing):
    """w_h or w_z of all layers from a second seed (SariGAN sec. 4.2)."""

    half: str

    @property
    def text(self) -> str:
        return f"w_{self.half} of seed {self.seed} in all layers"

    def target(self, generator: Generator, latents: Tensor, other: Tensor) -> Tensor:
        return mix_halves(generator, latents, other, self.half)


@dataclass(frozen=True, eq=False)
class DirectionMove(LatentChange):
    """Along a direction of w in closed form (SeFa), in standard deviations of w; layers None: in all of them."""

    number: int
    direction: Tensor  # [w_dim], one standard deviation long
    layers: tuple[str, ...] | None = None

    @property
    def text(self) -> str:
        return f"direction {self.number} of {'all layers' if self.layers is None else ', '.join(self.layers)}"

    def moved(self, generator: Generator, sampling: Sampling, latents: Tensor) -> Tensor:
        return moved(generator, latents, self.direction, self.amount, self.layers)
