"""The class-conditional layers of a BigGAN, read and edited: a `ConditionalGenerator` for channel awareness."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from sarigan.analysis.channel_awareness import ConditionalGenerator, Gains, closed_form_awareness
from sarigan.editing.seeds import z_of_seeds
from sarigan.errors import InputError
from sarigan.layers.intervention import ChannelEdit, GivenGains
from sarigan.models.class_conditional_generator import ClassConditionalGenerator
from sarigan.models.generator import Generator


class ConditionalChannels:
    """truncation_psi scales z, as truncation of these generators does. InputError for a generator of another kind."""

    def __init__(self, generator: Generator, truncation_psi: float = 1.0) -> None:
        if not isinstance(generator, ClassConditionalGenerator):
            raise InputError(
                "this needs class-conditional normalisation (system: class_conditional); for a style-based generator there are"
                " `channel_awareness measure` and `edit_directions --channels`"
            )
        self.generator, self.truncation_psi = generator, truncation_psi
        self.class_names: Sequence[str] = generator.config.class_names
        self.resolution = generator.config.resolution
        self.num_channels: Mapping[str, int] = generator.synthesis.num_channels()

    def latents(self, seeds: Sequence[int]) -> Tensor:
        """z [N,z_dim], truncated."""
        return self.truncation_psi * z_of_seeds(self.generator, seeds)

    @torch.no_grad()
    def gains(self, z: Tensor, labels: Tensor) -> dict[str, Gains]:
        """1 + W_g s and W_b s of every layer, s the code of class and latent."""
        found = {}
        for layer, codes in self.generator.synthesis.layer_codes(self.generator.latents(z, labels=labels)).items():
            assert codes.z_bias is not None
            found[layer] = Gains(codes.z_scale, codes.z_bias)
        return found

    @torch.no_grad()
    def generate(
        self, z: Tensor, labels: Tensor, gains: Mapping[str, Gains] = {}, edits: Sequence[ChannelEdit] = ()
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """As `ConditionalGenerator`. InputError for a layer or a channel that is not there."""
        for edit in edits:
            edit.check({}, self.num_channels)
        given = [GivenGains(layer, gamma, beta) for layer, (gamma, beta) in gains.items()]
        features: dict[str, Tensor] = {}

        def activated(layer: str, _module: nn.Module, _inputs: object, x: Tensor) -> Tensor:
            for edit in edits:
                if edit.layer == layer:
                    x = edit.edited(x)
            features[layer] = x
            return x

        with self._at_activations(activated):
            output = self.generator.synthesize(self.generator.latents(z, labels=labels), "none", given)
        return output.images, features

    @contextmanager
    def _at_activations(self, function: Callable[[str, nn.Module, object, Tensor], Tensor]) -> Iterator[None]:
        """What the function returns takes the place of the features after each layer's ReLU."""
        layers = self.generator.synthesis.named_layers()
        handles = [layer.activation.register_forward_hook(partial(function, name)) for name, layer in layers]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def is_class_conditional(generator: Generator) -> bool:
    """Whether its layers are class-conditional normalisations, as `ConditionalChannels` needs."""
    return isinstance(generator, ClassConditionalGenerator)


def mean_awareness(model: ConditionalGenerator, seeds: Sequence[int]) -> dict[str, Tensor]:
    """A [K,C] of every layer: the closed form, averaged over latents."""
    return {layer: table.mean(dim=1) for layer, table in closed_form_awareness(model, seeds).items()}
