"""SPADE, spatially-adaptive normalisation (Park et al. 2019, "Semantic Image Synthesis with Spatially-Adaptive Normalization").

    y = norm(x) * (1 + gamma(m)) + beta(m)                                                          (Eq. 1)

norm has no weights; gamma and beta are convolutions of the layout m, resized nearest to the size of x.
Legend: N batch, C channels, K channels of the layout.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sarigan import distributed
from sarigan.layers.normalization import full_precision

NORMS = ("batch", "synchronised", "instance", "none")
_EPSILON = 1e-5


class _SumOverRanks(torch.autograd.Function):
    """The sum of a tensor over ranks; its gradient is the sum of the gradients."""

    @staticmethod
    def forward(ctx: object, tensor: Tensor) -> Tensor:  # type: ignore[override]
        return distributed.sum_over_ranks(tensor.clone())

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return distributed.sum_over_ranks(gradient.clone())


class WeightlessNorm(nn.Module):
    """x [N,C,H,W] -> [N,C,H,W] of mean 0 and variance 1, by one of NORMS.

    batch: over the batch of this process; synchronised: over those of all ranks; instance: over each sample's positions.
    In evaluation, batch and synchronised use `mean` and `variance`, which `estimate` measured. A forward pass in training
    stores nothing, so it has no state that ranks, rounds or a resumed run could disagree on.
    """

    mean: Tensor  # [C]
    variance: Tensor  # [C]

    def __init__(self, channels: int, kind: str = "batch") -> None:
        super().__init__()
        self.kind = kind
        self.uses_statistics = kind in ("batch", "synchronised")
        if self.uses_statistics:
            self.register_buffer("mean", torch.zeros(channels))
            self.register_buffer("variance", torch.ones(channels))
        self.estimates: list[tuple[Tensor, Tensor]] | None = None  # while statistics are measured: those of each batch

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "none":
            return x
        if self.kind == "instance":
            return F.instance_norm(x, eps=_EPSILON)
        with torch.autocast(x.device.type, enabled=False):
            wide = full_precision(x)
            mean, variance = self._statistics(wide)
            factor = torch.rsqrt(variance + _EPSILON)[:, None, None]
            return ((wide - mean[:, None, None]) * factor).to(x.dtype)

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if not self.training and self.estimates is None:
            return self.mean, self.variance
        dims, count = (0, 2, 3), x.numel() // x.shape[1]
        if self.kind == "synchronised" and distributed.world_size() > 1 and self.estimates is None:
            total = torch.cat([x.sum(dim=dims), x.new_tensor([count])])
            *_, total_count = summed = _SumOverRanks.apply(total)
            mean = summed[:-1] / total_count
            squares = _SumOverRanks.apply((x - mean[:, None, None]).square().sum(dim=dims))
            return mean, squares / total_count
        variance, mean = torch.var_mean(x, dim=dims, correction=0)
        if self.estimates is not None:
            self.estimates.append((mean, variance * (count / max(count - 1, 1))))
        return mean, variance


class Spade(nn.Module):
    """x [N,C,H,W], layout [N,K,H,W] -> [N,C,H,W].

    hidden: channels between the layout and gamma, beta. kernel: of all three convolutions; 3 in the paper.
    """

    def __init__(self, channels: int, layout_channels: int, norm: str = "batch", hidden: int = 128, kernel: int = 3) -> None:
        super().__init__()
        self.norm = WeightlessNorm(channels, norm)
        self.shared = nn.Conv2d(layout_channels, hidden, kernel, padding=kernel // 2)
        self.gamma = nn.Conv2d(hidden, channels, kernel, padding=kernel // 2)
        self.beta = nn.Conv2d(hidden, channels, kernel, padding=kernel // 2)

    def forward(self, x: Tensor, layout: Tensor) -> Tensor:
        features = F.relu(self.shared(layout))
        return self.norm(x) * (1 + self.gamma(features)) + self.beta(features)


class StatisticsEstimate:
    """Measures the statistics of every norm of a network in evaluation mode: use as a context manager around its passes.

    Inside, batches are normalised by their own statistics, as in training. At the end each norm keeps the mean over the
    batches of their means and of their unbiased variances.
    """

    def __init__(self, network: nn.Module) -> None:
        self.norms = [m for m in network.modules() if isinstance(m, WeightlessNorm) and m.uses_statistics]

    def __enter__(self) -> None:
        for norm in self.norms:
            norm.estimates = []

    def __exit__(self, *_: object) -> None:
        for norm in self.norms:
            found, norm.estimates = norm.estimates, None
            if found:
                means, variances = zip(*found, strict=True)
                norm.mean.copy_(torch.stack(means).mean(dim=0))
                norm.variance.copy_(torch.stack(variances).mean(dim=0))
