"""Features of the last image, so that an edit of a layer computes this layer and those after it, and none before.

A layer's result depends on what comes from the layer before, on its latents, its noise and its edits. The first layer for
which one of these changed is where the computation starts again; the steps are those of `forward`, so no bit differs.
Another generator, such as one with new weights, starts anew.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sarigan.layers.intervention import Edit
from sarigan.models.generator import Generator
from sarigan.models.synthesis import PartialSynthesis, SynthesisOutput

MAX_BYTES = 128 << 20  # of one cache; layers whose features do not fit are computed again


class FeatureCache:
    """Images of one sample after the other. `num_computed` is the number of layers that the last call computed."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self.num_computed = 0
        self._generator: Generator | None = None  # of which everything below is
        self._keys: list[tuple] = []  # of every layer, as it was computed last
        self._before: dict[int, PartialSynthesis] = {}  # by the number of layers that are done

    @torch.no_grad()
    def synthesize(
        self, generator: Generator, latents: Tensor, noise: Sequence[Tensor | None], edits: Sequence[Edit] = ()
    ) -> SynthesisOutput:
        """What `generator.synthesis` makes of latents [1,L,w_dim]. InputError for an edit that does not fit."""
        if generator is not self._generator:
            self._generator, self._keys, self._before = generator, [], {}
        synthesis = generator.synthesis
        by_layer = synthesis.edits_by_layer(edits)
        names = synthesis.layer_names()
        keys = [
            (
                _bits(latents[:, synthesis.latents_of_layer(i)]),
                _bits(noise[i]) if noise else b"",
                tuple(map(edit_key, by_layer.get(name, ()))),
            )
            for i, name in enumerate(names)
        ]
        same = next((i for i, key in enumerate(keys) if i >= len(self._keys) or key != self._keys[i]), len(keys))
        start = max((done for done in self._before if done <= same), default=0)
        partial = self._before[start] if start else synthesis.begin(latents)
        self._keys = []  # an edit that raises below leaves no key without its features
        self._before = {done: kept for done, kept in self._before.items() if done <= same}
        size = sum(map(_num_bytes, self._before.values()))
        for _ in names[start:]:
            partial = synthesis.advance(partial, latents, noise, by_layer)
            size += _num_bytes(partial)
            if size <= self.max_bytes:
                self._before[partial.num_layers] = partial
        self._keys, self.num_computed = keys, len(names) - start
        return synthesis.finish(partial)

    def input_of(self, index: int) -> Tensor | None:
        """The features [1,c,H,W] that come into layer `index` (from 1), before its codes act; None where they did not fit."""
        partial = self._before.get(index)
        return None if partial is None else partial.x


def _bits(tensor: Tensor | None) -> bytes:
    return b"" if tensor is None else tensor.cpu().numpy().tobytes()


def edit_key(edit: Any) -> tuple[Any, ...]:
    """Equal for edits that do the same."""
    values = (getattr(edit, field.name) for field in dataclasses.fields(edit))
    return (type(edit).__name__, *(_bits(value) if isinstance(value, Tensor) else value for value in values))


def _num_bytes(partial: PartialSynthesis) -> int:
    tensors = (partial.x, partial.images, partial.block_input)
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors if tensor is not None)
