"""Images, and the features of their groups, from latents and seeds: truncation, noise, a batch at a time."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from sarigan.editing.seeds import LatentSource, SeedLatents, labels_of_seeds, latents_of_seeds, noise_of_seeds
from sarigan.layers.intervention import Edit, Intervention, check_layer
from sarigan.models.generator import Generator
from sarigan.models.synthesis import SkipSynthesis
from sarigan.progress import progress_bar


def render(*arguments: Any, **options: Any) -> Tensor:
    """`rendered_batches`, which takes the same arguments, in one: images [N,3,R,R]."""
    return torch.cat(list(rendered_batches(*arguments, **options)))


@torch.no_grad()
def rendered_batches(
    generator: Generator,
    latents: LatentSource,
    noise: str | Sequence[Tensor | None] = "fixed",
    noise_seeds: Sequence[int] | None = None,
    interventions: Sequence[Edit] = (),
    batch_size: int = 16,
    description: str | None = None,
) -> Iterator[Tensor]:
    """Images [batch_size or fewer,3,R,R] on the CPU from latents [N,L,w_dim], one batch after the other.

    noise: a kind of `seeds.NOISES` (`fresh` needs one seed an image), or one [1 or N,1,H,W] a layer. Values of
    interventions may be one row an image. With a description there is a progress bar.
    """
    starts = range(0, len(latents), batch_size)
    for start in progress_bar(starts, desc=description, unit="batch", disable=description is None or len(starts) < 2):
        part = slice(start, min(start + batch_size, len(latents)))
        if isinstance(noise, str):
            seeds = list(noise_seeds[part]) if noise_seeds is not None else [0] * (part.stop - part.start)
            maps = noise_of_seeds(generator, noise, seeds)
        else:
            maps = [None if m is None else (m if len(m) == 1 else m[part]).expand(part.stop - start, -1, -1, -1) for m in noise]
        edits = [
            replace(edit, values=edit.values[part])
            if isinstance(edit, Intervention) and edit.values is not None and edit.values.ndim == 2
            else edit
            for edit in interventions
        ]
        yield generator.synthesize(latents[part], maps, edits).images.float().cpu()


@dataclass(frozen=True)
class Sampling:
    """How images are made from latents."""

    truncation_psi: float = 0.7
    truncation_cutoff: int | None = None
    noise: str = "fixed"  # of seeds.NOISES
    batch_size: int = 16
    classes: tuple[str, ...] = ()  # that the seeds take in turn; none: each seed draws its class by the shares of training

    def labels(self, generator: Generator, seeds: Sequence[int]) -> list[int] | None:
        """The class of every seed's image; None without classes. InputError for a class that the generator does not have."""
        if not self.classes:
            return labels_of_seeds(generator, seeds)
        numbers = [generator.class_index(name) for name in self.classes]
        return [numbers[position % len(numbers)] for position in range(len(seeds))]

    def headings(self, generator: Generator, seeds: Sequence[int]) -> list[str]:
        """`seed 3` for a person, with the class where there are classes."""
        labels = self.labels(generator, seeds)
        if labels is None:
            return [f"seed {seed}" for seed in seeds]
        return [f"seed {seed}, {generator.config.class_names[k]}" for seed, k in zip(seeds, labels, strict=True)]

    def latents(self, generator: Generator, seeds: Sequence[int]) -> Tensor:
        """[N,L,w_dim], truncated."""
        labels = self.labels(generator, seeds)
        return latents_of_seeds(generator, seeds, self.truncation_psi, self.truncation_cutoff, labels)

    def latents_on_demand(self, generator: Generator, seeds: Sequence[int]) -> SeedLatents:
        """`latents`, each slice made when it is asked for."""
        return SeedLatents(generator, seeds, self.truncation_psi, self.truncation_cutoff, self.labels(generator, seeds))

    def batches(
        self, generator: Generator, latents: LatentSource, seeds: Sequence[int] | None = None,
        interventions: Sequence[Edit] = (), description: str | None = None,
    ) -> Iterator[Tensor]:  # fmt: skip
        """Images of latents [N,L,w_dim], `batch_size` at a time."""
        return rendered_batches(generator, latents, self.noise, seeds, interventions, self.batch_size, description)

    def render(self, *arguments: Any, **options: Any) -> Tensor:
        """`batches`, which takes the same arguments, in one: images [N,3,R,R]."""
        return torch.cat(list(self.batches(*arguments, **options)))


@contextmanager
def record_layer_inputs(generator: Generator, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """In the block, each call of the generator puts the inputs [N,C,H,W] of these layers' convolutions into the dictionary.

    Codes have not acted on them yet (SariGAN Fig. 3). Calls that other threads make meanwhile are not recorded.
    InputError for a layer that is not there.
    """
    for name in layers:
        check_layer(name, generator.synthesis.num_channels())
    found: dict[str, Tensor] = {}
    thread = threading.get_ident()

    def keep(name: str, module: nn.Module, arguments: tuple) -> None:
        if threading.get_ident() == thread:
            found[name] = arguments[0].detach()

    assert not layers or isinstance(generator.synthesis, SkipSynthesis)
    modules = dict(generator.synthesis.named_layers()) if isinstance(generator.synthesis, SkipSynthesis) else {}
    handles = [modules[name].modulation.register_forward_pre_hook(partial(keep, name)) for name in layers]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def group_responses(features: Tensor, membership: Tensor, absolute: bool = False) -> Tensor:
    """The mean feature of every group (Fig. 3), or its mean absolute feature: [N,C,H,W], [C,G] -> [N,G,H,W]; empty: 0."""
    if absolute:
        features = features.abs()
    member = membership.to(features.dtype)
    weight = member / member.sum(dim=0).clamp_min(1)
    return torch.einsum("nchw,cg->nghw", features, weight)
