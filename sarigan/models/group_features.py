"""Features of groups: the input of a grouped layer's convolution, before its codes act on it (SariGAN Fig. 3)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from sarigan.layers.intervention import check_place
from sarigan.models.generator import Generator
from sarigan.models.synthesis import SkipSynthesis


@contextmanager
def record_layer_inputs(generator: Generator, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Within the block, every call of the generator leaves the inputs [N,C,H,W] of these layers in the dictionary.

    InputError for a layer without groups.
    """
    for name in layers:
        check_place(name, None, generator.synthesis.num_groups())
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, tuple], None]:
        def hook(module: nn.Module, arguments: tuple) -> None:
            found[name] = arguments[0].detach()

        return hook

    assert not layers or isinstance(generator.synthesis, SkipSynthesis)
    modules = dict(generator.synthesis.named_layers()) if isinstance(generator.synthesis, SkipSynthesis) else {}
    handles = [modules[name].modulation.register_forward_pre_hook(keep(name)) for name in layers]
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
