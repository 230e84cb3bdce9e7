"""Spectral normalisation (Miyato et al. 2018): a kernel divided by its largest singular value.

A forward pass changes nothing: `iterate` improves the estimate of the singular vectors, and whoever trains calls it once a
step. So a result depends neither on how a batch is cut into passes nor on how many processes share it.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

INITIAL_ITERATIONS = 15
_EPSILON = 1e-12


class SpectralConv2d(nn.Conv2d):
    """y = (W / sigma) * x + b with sigma = u^T W v, where W is [O, I*K*K]. u and v have no gradient."""

    u: Tensor  # [O]
    v: Tensor  # [I*K*K]

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, padding: int = 0, bias: bool = True
    ) -> None:
        super().__init__(in_channels, out_channels, kernel, stride, padding, bias=bias)
        rows, columns = self.weight.flatten(start_dim=1).shape
        self.register_buffer("u", F.normalize(torch.randn(rows), dim=0, eps=_EPSILON))
        self.register_buffer("v", F.normalize(torch.randn(columns), dim=0, eps=_EPSILON))
        self.iterate(INITIAL_ITERATIONS)

    @torch.no_grad()
    def iterate(self, count: int = 1) -> None:
        """v <- W^T u / |W^T u|, u <- W v / |W v|, `count` times. Nothing for a kernel without contents."""
        if self.weight.is_meta:
            return
        matrix = self.weight.flatten(start_dim=1)
        for _ in range(count):
            self.v.copy_(F.normalize(matrix.t() @ self.u, dim=0, eps=_EPSILON))
            self.u.copy_(F.normalize(matrix @ self.v, dim=0, eps=_EPSILON))

    def normalized_weight(self) -> Tensor:
        """W / sigma, in the weight's own precision: [O,I,K,K]."""
        with torch.autocast(self.weight.device.type, enabled=False):
            sigma = torch.dot(self.u, self.weight.flatten(start_dim=1) @ self.v)
            return self.weight / sigma

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.normalized_weight(), self.bias)


def iterate_spectral_norms(network: nn.Module, count: int = 1) -> None:
    """`iterate` every spectral convolution of a network."""
    for module in network.modules():
        if isinstance(module, SpectralConv2d):
            module.iterate(count)
