"""One correspondence for both directions: which of our tensors is which of theirs, and in what shape."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Part:
    """One of our tensors in somebody's state dictionary. Several parts of one name lie in it one after the other, by rows.

    shape: theirs for ours, of the same numbers in the same order. transposed: theirs is the transpose of ours (two axes).
    """

    ours: str
    theirs: str
    shape: Callable[[Shape], Shape] = lambda ours: ours
    transposed: bool = False

    def their_shape(self, ours: Shape) -> Shape:
        """Theirs for a tensor of this shape of ours."""
        return ours[::-1] if self.transposed else self.shape(ours)


def their_shapes(parts: Sequence[Part], ours: Mapping[str, Shape]) -> dict[str, Shape]:
    """The shape of every tensor of theirs."""
    found: dict[str, Shape] = {}
    for part in parts:
        shape = part.their_shape(ours[part.ours])
        if part.theirs in found:
            shape = (found[part.theirs][0] + shape[0], *shape[1:])
        found[part.theirs] = shape
    return found


def to_ours(parts: Sequence[Part], theirs: Mapping[str, Tensor], ours: Mapping[str, Shape]) -> dict[str, Tensor]:
    """Our state dictionary from theirs, whose shapes are those of `their_shapes`."""
    found: dict[str, Tensor] = {}
    rows: dict[str, int] = {}
    for part in parts:
        tensor, shape = theirs[part.theirs], part.their_shape(ours[part.ours])
        if shape:
            start = rows.get(part.theirs, 0)
            tensor = tensor[start : start + shape[0]]
            rows[part.theirs] = start + shape[0]
        found[part.ours] = (tensor.t() if part.transposed else tensor).reshape(ours[part.ours]).clone()
    return found


def to_theirs(parts: Sequence[Part], ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their state dictionary from ours."""
    found: dict[str, Tensor] = {}
    for part in parts:
        tensor = ours[part.ours].detach().cpu()
        tensor = (tensor.t() if part.transposed else tensor).reshape(part.their_shape(tuple(tensor.shape))).clone()
        found[part.theirs] = torch.cat([found[part.theirs], tensor]) if part.theirs in found else tensor
    return found
