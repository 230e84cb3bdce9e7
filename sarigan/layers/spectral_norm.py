"""Spectral normalisation (Miyato et al. 2018, "Spectral Normalization for Generative Adversarial Networks").

W is used as W / sigma, sigma = u^T W v being close to its largest singular value. A weight of more than two dimensions is the
matrix [O, rest]. `update_spectral_norms` makes one power iteration; a system calls it once a step, so the forward passes of
a step, however many, on whatever number of ranks, see the same u and v.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ops import conv2d
from sarigan.layers.normalization import full_precision

EPSILON = 1e-12


class SpectralNorm(nn.Module):
    """weight -> weight / (u^T W v). No gradient reaches u [O] and v [I], which are buffers."""

    u: Tensor
    v: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        matrix = weight.flatten(start_dim=1)
        self.register_buffer("u", F.normalize(torch.randn(matrix.shape[0]), dim=0, eps=EPSILON))
        self.register_buffer("v", F.normalize(torch.randn(matrix.shape[1]), dim=0, eps=EPSILON))

    @torch.no_grad()
    def iterate(self, weight: Tensor) -> None:
        """One power iteration: v <- W^T u / |W^T u|, u <- W v / |W v|."""
        matrix = weight.flatten(start_dim=1)
        self.v.copy_(F.normalize(matrix.t() @ self.u, dim=0, eps=EPSILON))
        self.u.copy_(F.normalize(matrix @ self.v, dim=0, eps=EPSILON))

    def forward(self, weight: Tensor) -> Tensor:
        with torch.autocast(weight.device.type, enabled=False):
            sigma = torch.dot(self.u, weight.flatten(start_dim=1) @ self.v)
            return weight / sigma


class SpectralConv2d(nn.Module):
    """x [N,I,H,W] -> [N,O,h,w]: a spectrally normalised convolution. padding None: "same" padding."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, bias: bool = True, stride: int = 1,
        padding: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.stride, self.padding = stride, kernel_size // 2 if padding is None else padding
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.spectral = SpectralNorm(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = conv2d(x, self.spectral(self.weight), self.stride, self.padding)
        return y if self.bias is None else y + self.bias.to(y.dtype)[:, None, None]


class SpectralLinear(nn.Module):
    """x [N,I] -> [N,O], in float32 at least. spectral False: W itself, as for a table of one row a class."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True, spectral: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None
        self.spectral = SpectralNorm(self.weight) if spectral else None

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            weight = self.weight if self.spectral is None else self.spectral(self.weight)
            return F.linear(full_precision(x), weight, self.bias)


class SpectralEmbedding(nn.Module):
    """labels [N], int64 -> [N,D]: rows of a spectrally normalised table [K,D]."""

    def __init__(self, num_classes: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_classes, dim))
        self.spectral = SpectralNorm(self.weight)

    def forward(self, labels: Tensor) -> Tensor:
        return self.spectral(self.weight)[labels]


def spectral_modules(network: nn.Module) -> Iterator[tuple[SpectralNorm, nn.Parameter]]:
    """Every spectral norm of a network with the weight that it normalises."""
    for module in network.modules():
        if isinstance(module, SpectralConv2d | SpectralLinear | SpectralEmbedding) and module.spectral is not None:
            yield module.spectral, module.weight


def update_spectral_norms(network: nn.Module, iterations: int = 1) -> None:
    """Power iterations of all spectral norms of a network."""
    for norm, weight in spectral_modules(network):
        for _ in range(iterations):
            norm.iterate(weight)


INITIALIZATIONS = ("orthogonal", "normal")


@torch.no_grad()
def initialize_weights(network: nn.Module, kind: str, iterations: int = 15) -> None:
    """Draw all kernels, matrices and tables of a network, and bring u and v of its spectral norms near their limits.

    orthogonal: rows or columns of the matrix [O, rest] are orthonormal (Saxe et al. 2014). normal: N(0, 0.02^2).
    A network on the device `meta`, which has no numbers, is left alone.
    """
    if any(parameter.is_meta for parameter in network.parameters()):
        return
    for parameter in network.parameters():
        if parameter.ndim < 2 or parameter.numel() == 0:
            continue
        if kind == "orthogonal":
            nn.init.orthogonal_(parameter)
        else:
            nn.init.normal_(parameter, std=0.02)
    update_spectral_norms(network, iterations)
