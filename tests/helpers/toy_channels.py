"""A generator of painted bars with class-conditional layers whose channels are known: for tests of channel awareness."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from sarigan.analysis.channel_awareness import Gains
from sarigan.layers.intervention import ChannelEdit


class ToyChannels:
    """Layers `first` (4x4, 8 channels) and `second` (8x8, 6 channels). Normalised features are fixed, of mean 0 and variance 1.

    Channel k of `second` is colour k of the picture (k < 3) and belongs to class k: its shift is 2 there and -4 elsewhere.
    Its channel 3 depends on the latent alone, 4 is the same for all, 5 is dead. `first` shows in no picture.
    """

    class_names = ["red", "green", "blue"]
    resolution = 8
    num_channels = {"first": 8, "second": 6}

    def __init__(self) -> None:
        source = torch.Generator().manual_seed(3)
        self.normal = {
            "first": torch.randn(8, 4, 4, generator=source).double(),
            "second": torch.randn(6, 8, 8, generator=source).double(),
        }
        for name, x in self.normal.items():
            self.normal[name] = (x - x.mean(dim=(1, 2), keepdim=True)) / x.std(dim=(1, 2), correction=0, keepdim=True)
        self.table = torch.randn(3, 8, generator=source).double()

    def latents(self, seeds: Sequence[int]) -> Tensor:
        rows = [torch.randn(2, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return torch.stack(rows).double()

    def gains(self, z: Tensor, labels: Tensor) -> dict[str, Gains]:
        n = len(z)
        beta = torch.full((n, 6), -4.0).double()
        beta[torch.arange(n), labels] = 2.0
        beta[:, 3], beta[:, 4], beta[:, 5] = z[:, 0], 1.0, -30.0
        gamma = torch.full((n, 6), 0.5).double()
        return {"first": Gains(1 + 0.1 * self.table[labels], self.table[labels] + 0.2 * z[:, :1]), "second": Gains(gamma, beta)}

    def generate(
        self, z: Tensor, labels: Tensor, gains: Mapping[str, Gains] = {}, edits: Sequence[ChannelEdit] = ()
    ) -> tuple[Tensor, dict[str, Tensor]]:
        features = {}
        for layer, (gamma, beta) in {**self.gains(z, labels), **gains}.items():
            x = F.relu(gamma[:, :, None, None] * self.normal[layer] + beta[:, :, None, None])
            for edit in edits:
                if edit.layer == layer:
                    where = torch.arange(x.shape[1])[:, None, None] == edit.channel
                    x = torch.where(where, x * edit.amount if edit.operation == "scale" else x + edit.amount, x)
            features[layer] = x
        return features["second"][:, :3] - 1, features
