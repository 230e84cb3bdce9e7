"""Class-conditional batch normalisation (de Vries et al. 2017; in the form of BigGAN, Brock et al. 2019, appendix B).

y = (1 + W_g s) x^ + W_b s: x^ has mean 0 and variance 1 over the batch and all pixels, whatever the classes; s is the code of
class and latent. Legend: N batch, C channels, D dimension of the code.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sarigan import distributed
from sarigan.layers.intervention import Edit
from sarigan.layers.normalization import full_precision
from sarigan.layers.spectral_norm import SpectralLinear
from sarigan.layers.style import StyleCodes

EPSILON = 1e-5
MOMENTUM = 0.1


class BatchNorm(nn.Module):
    """x [N,C,H,W] -> (x - mean) / sqrt(var + epsilon), in float32 at least; without scale and shift.

    In training mode the statistics are those of the batch over all ranks; `running_*` follow them with momentum 0.1. In
    evaluation mode they are `test_*`, which `set_test_statistics` of a generator fills, so an image does not depend on those
    beside it. A batch with numbers that are not finite leaves `running_*` alone.
    """

    running_mean: Tensor
    running_var: Tensor
    test_mean: Tensor
    test_var: Tensor

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        for kind in ("running", "test"):
            self.register_buffer(f"{kind}_mean", torch.zeros(num_channels))
            self.register_buffer(f"{kind}_var", torch.ones(num_channels))
        self.collected: list[tuple[Tensor, Tensor]] | None = None  # inside `collecting`: of every batch

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            full = full_precision(x)
            if not self.training:
                # Written out: ONNX's batch norm wants to know the number of channels beforehand.
                return (full - self.test_mean[:, None, None]) * torch.rsqrt(self.test_var + EPSILON)[:, None, None]
            mean, var = torch.zeros_like(self.running_mean), torch.ones_like(self.running_var)
            if distributed.world_size() > 1 and self.collected is None:
                mean, var, y = _normalized_over_ranks(full)
            else:
                y = F.batch_norm(full, mean, var, training=True, momentum=1.0, eps=EPSILON)
            self._note(mean, var)
            return y

    @torch.no_grad()
    def _note(self, mean: Tensor, var: Tensor) -> None:
        if self.collected is not None:
            self.collected.append((mean, var))
            return
        finite = mean.isfinite().all() & var.isfinite().all()
        for running, new in ((self.running_mean, mean), (self.running_var, var)):
            running.copy_(torch.where(finite, torch.lerp(running, new, MOMENTUM), running))


class _SumOverRanks(torch.autograd.Function):
    """The sum of a tensor over ranks; its gradient is the sum of the ranks' gradients."""

    @staticmethod
    def forward(_context: object, x: Tensor) -> Tensor:
        return distributed.sum_over_ranks(x.clone())

    @staticmethod
    def backward(_context: object, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return distributed.sum_over_ranks(gradient.clone())


def _normalized_over_ranks(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, unbiased variance and normalised features of a batch that is dealt out to ranks in equal parts."""
    count = distributed.world_size() * x.shape[0] * x.shape[2] * x.shape[3]
    mean = _SumOverRanks.apply(x.sum(dim=(0, 2, 3))) / count
    centred = x - mean[:, None, None]
    var = _SumOverRanks.apply(centred.square().sum(dim=(0, 2, 3))) / count
    y = centred * torch.rsqrt(var + EPSILON)[:, None, None]
    return mean.detach(), var.detach() * (count / max(count - 1, 1)), y


class ClassConditionalNorm(nn.Module):
    """x [N,C,H,W], code s [N,D] -> y [N,C,H,W] and its gains and biases: `z_scale` = 1 + W_g s, `z_bias` = W_b s, [N,C].

    Edits act on gains and biases, one after the other. spectral: W_g and W_b are spectrally normalised.
    """

    def __init__(self, num_channels: int, code_dim: int, spectral: bool = True) -> None:
        super().__init__()
        self.norm = BatchNorm(num_channels)
        self.gain = SpectralLinear(code_dim, num_channels, bias=False, spectral=spectral)
        self.bias = SpectralLinear(code_dim, num_channels, bias=False, spectral=spectral)

    def codes(self, code: Tensor) -> StyleCodes:
        """Gains and biases of a code, without features."""
        return StyleCodes(1 + self.gain(code), z_bias=self.bias(code))

    def forward(self, x: Tensor, code: Tensor, edits: Sequence[Edit] = ()) -> tuple[Tensor, StyleCodes]:
        codes = self.codes(code)
        for edit in edits:
            codes = edit(codes)
        assert codes.z_bias is not None
        y = torch.addcmul(codes.z_bias[:, :, None, None], self.norm(x), codes.z_scale[:, :, None, None])
        return y.to(x.dtype), codes


class AffineBatchNorm(nn.Module):
    """Batch normalisation with one learned gain (1 at the start) and bias (0) a channel, the same for all classes."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.norm = BatchNorm(num_channels)
        self.gain = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))

    def forward(self, x: Tensor) -> Tensor:
        return (self.norm(x) * self.gain[:, None, None] + self.bias[:, None, None]).to(x.dtype)


def batch_norms(network: nn.Module) -> list[BatchNorm]:
    """All batch normalisations of a network, in order."""
    return [module for module in network.modules() if isinstance(module, BatchNorm)]


@contextmanager
def collecting(network: nn.Module) -> Iterator[list[BatchNorm]]:
    """In the block the network is in training mode, and every batch's statistics are kept in `collected` and nowhere else."""
    norms, was_training = batch_norms(network), network.training
    network.train()
    for norm in norms:
        norm.collected = []
    try:
        yield norms
    finally:
        network.train(was_training)
        for norm in norms:
            norm.collected = None


@torch.no_grad()
def average_running_statistics(average: nn.Module, source: nn.Module, decay: float) -> None:
    """`running_*` of `average` <- decay * average + (1 - decay) * source."""
    for mine, theirs in zip(batch_norms(average), batch_norms(source), strict=True):
        mine.running_mean.lerp_(theirs.running_mean, 1 - decay)
        mine.running_var.lerp_(theirs.running_var, 1 - decay)
