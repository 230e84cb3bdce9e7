"""A generator whose channels control known attributes, and a classifier that reads them: for tests of edits of groups."""

from collections.abc import Sequence
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from sarigan.layers.intervention import Edit
from sarigan.layers.modulation.demodulation import channel_affine
from sarigan.layers.style import StyleCodes


class ToyAttributes:
    """Channel j has the scale z_j of the latent; row a of the picture is the sum over the channels of attribute a."""

    def __init__(self, attributes: Sequence[int]) -> None:
        """attributes: of every channel."""
        self.attributes = torch.tensor(list(attributes))
        self.num_attributes = int(self.attributes.max()) + 1

    def latents(self, num_images: int, seed: int = 0) -> Tensor:
        """[N,1,C], positive."""
        source = torch.Generator().manual_seed(seed)
        return 0.5 + torch.rand(num_images, 1, len(self.attributes), generator=source)

    def synthesize(self, latents: Tensor, noise: str = "fixed", edits: Sequence[Edit] = ()) -> SimpleNamespace:
        """Images [N,3,A,A] of latents [N,1,C] with edits of a layer without groups."""
        codes = StyleCodes(latents[:, 0])
        for edit in edits:
            codes = edit(codes)
        scale, _ = channel_affine(codes)
        rows = scale @ nn.functional.one_hot(self.attributes).float()
        return SimpleNamespace(images=rows[:, None, :, None].expand(-1, 3, -1, self.num_attributes))


class RowMeans(nn.Module):
    """Images [N,3,A,A] -> logits [N,A], the mean of each row."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(1, 3))
