"""Channel awareness: how strongly a class uses each channel of a class-conditional generator (after He et al. 2022).

A channel of a class-conditional normalisation is y = gamma x + beta, gamma and beta of class and latent, and then ReLU follows.
With x ~ N(0,1) its mean is a closed form of beta and gamma:

    A = E[ReLU(y)] = beta Phi(beta / |gamma|) + |gamma| phi(beta / |gamma|),  y ~ N(beta, gamma^2).

This formula is ours: the paper says that awareness follows from the parameters of the normalisation, and its formula is not
public. Normalisation is over all classes, so that x within a class is not N(0,1): `measured_awareness` is the mean of ReLU
itself, and `agreement` compares the two.
Style-based generators have no such layer. Their analogues are the energy share of a group, h_i^2 / sum h^2, and without groups
the squared modulation s_j^2 of a channel.
Legend: K classes, M latents, C channels (or groups), N samples.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from scipy.stats import rankdata
from torch import Tensor

from sarigan.editing.seeds import latents_of_seeds
from sarigan.errors import InputError
from sarigan.layers.intervention import ChannelEdit
from sarigan.models.generator import Generator
from sarigan.models.synthesis import SkipSynthesis


class Gains(NamedTuple):
    """Scale and shift of one class-conditional normalisation."""

    gamma: Tensor  # [N,C]
    beta: Tensor  # [N,C]


class ConditionalGenerator(Protocol):
    """A generator whose layers are class-conditional normalisation and ReLU, as this analysis sees it."""

    class_names: Sequence[str]
    resolution: int
    num_channels: Mapping[str, int]  # of every such layer by its name, in the order of execution

    def latents(self, seeds: Sequence[int]) -> Tensor:
        """Latents [N,z_dim], row i a function of seed i alone."""

    def gains(self, z: Tensor, labels: Tensor) -> dict[str, Gains]:
        """gamma and beta of every layer for latents [N,z_dim] and labels [N]."""

    def generate(
        self, z: Tensor, labels: Tensor, gains: Mapping[str, Gains] = {}, edits: Sequence[ChannelEdit] = ()
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Images [N,3,R,R] in about -1..1, and the features [N,C,H,W] of every layer after ReLU.

        gains: take the place of the generator's own in these layers. edits: act on the features after ReLU.
        """


def expected_relu(beta: Tensor, gamma: Tensor) -> Tensor:
    """E[max(y, 0)] of y ~ N(beta, gamma^2), elementwise, float64; max(beta, 0) where gamma is 0."""
    beta, spread = beta.double(), gamma.double().abs()
    ratio = beta / spread.clamp_min(1e-300)
    density = torch.exp(-0.5 * ratio.square()) / math.sqrt(2 * math.pi)
    smooth = beta * torch.special.ndtr(ratio) + spread * density
    return torch.where(spread > 0, smooth, beta).clamp_min(0)


@torch.no_grad()
def closed_form_awareness(model: ConditionalGenerator, seeds: Sequence[int]) -> dict[str, Tensor]:
    """A [K,M,C] of every layer, each of the M latents with each of the K classes; float64 on the CPU."""
    z = model.latents(seeds)
    tables: dict[str, list[Tensor]] = {layer: [] for layer in model.num_channels}
    for label in range(len(model.class_names)):
        for layer, (gamma, beta) in model.gains(z, torch.full((len(z),), label, device=z.device)).items():
            tables[layer].append(expected_relu(beta, gamma).cpu())
    return {layer: torch.stack(rows) for layer, rows in tables.items()}


@torch.no_grad()
def measured_awareness(
    model: ConditionalGenerator, seeds: Sequence[int], batch_size: int = 32, advance: Callable[[int], None] = lambda count: None
) -> dict[str, Tensor]:
    """The mean of ReLU over positions [K,M,C] of every layer, of the same samples as `closed_form_awareness`."""
    z = model.latents(seeds)
    tables: dict[str, list[Tensor]] = {layer: [] for layer in model.num_channels}
    for label in range(len(model.class_names)):
        for part in z.split(batch_size):
            _, features = model.generate(part, torch.full((len(part),), label, device=z.device))
            for layer in tables:
                tables[layer].append(features[layer].double().mean(dim=(2, 3)).cpu())
            advance(len(part))
    return {layer: torch.cat(rows).reshape(len(model.class_names), len(z), -1) for layer, rows in tables.items()}


@torch.no_grad()
def style_awareness(generator: Generator, seeds: Sequence[int], truncation_psi: float = 1.0) -> dict[str, Tensor]:
    """The analogue of style-based generators [K,M,C] by layer: h_i^2 / sum h^2 of every group, else s_j^2 of every channel.

    A group without channels has 0. InputError for a generator without classes, and for StyleGAN, which normalises images.
    """
    if not generator.config.class_names:
        raise InputError("channel awareness: this generator was trained without classes (data.labels)")
    if not isinstance(generator.synthesis, SkipSynthesis):
        raise InputError("channel awareness: generator.synthesis=adain (StyleGAN) has no modulated convolutions to read")
    grouped = generator.config.grouping.kind != "none"
    layers = [(i, name, layer) for i, (name, layer) in enumerate(generator.synthesis.named_layers())]
    tables: dict[str, list[Tensor]] = {name: [] for _, name, layer in layers if layer.grouping is not None or not grouped}
    for label in range(len(generator.config.class_names)):
        latents = latents_of_seeds(generator, seeds, truncation_psi, labels=[label] * len(seeds))
        for index, name, layer in layers:
            if name in tables:
                member = None if layer.grouping is None else layer.grouping.membership()
                codes = layer.style(latents[:, index], member)
                power = (codes.z_scale if codes.h_scale is None else codes.h_scale).double().square()
                if member is not None:
                    power = power * (member.sum(dim=0) > 0)
                    power = power / power.sum(dim=1, keepdim=True)
                tables[name].append(power.cpu())
    return {name: torch.stack(rows) for name, rows in tables.items()}


@dataclass(frozen=True)
class VarianceSplit:
    """Shares of a channel's variance [C] over classes and latents: they add up to 1, and are 0 for a constant channel."""

    by_class: Tensor
    by_latent: Tensor
    by_both: Tensor  # interaction: the latent acts differently in different classes
    total: Tensor  # the variance itself, [C]

    def layer_shares(self) -> dict[str, float]:
        """The shares of all channels together, each channel weighted by its variance."""
        weight = self.total / self.total.sum().clamp_min(1e-300)
        shares = {"class": self.by_class, "latent": self.by_latent, "both": self.by_both}
        return {name: float(weight @ share) for name, share in shares.items()}


def variance_split(table: Tensor) -> VarianceSplit:
    """Two-way analysis of variance of A [K,M,C], every latent with every class."""
    table = table.double()
    mean = table.mean(dim=(0, 1))
    of_class, of_latent = table.mean(dim=1) - mean, table.mean(dim=0) - mean
    both = table - mean - of_class[:, None] - of_latent
    total = (table - mean).square().mean(dim=(0, 1))
    scale = torch.where(total > 0, 1 / total.clamp_min(1e-300), 0.0)
    class_part, latent_part = of_class.square().mean(dim=0), of_latent.square().mean(dim=0)
    return VarianceSplit(class_part * scale, latent_part * scale, both.square().mean(dim=(0, 1)) * scale, total)


@dataclass(frozen=True)
class Agreement:
    """Correlation of closed form and measurement over all pairs of class and channel; NaN where either is constant."""

    pearson: float
    spearman: float
    pearson_within_channels: float  # after each channel's mean over classes is taken away: do classes differ as predicted?
    ratio: float  # sum of the closed form / sum of the measurement


def agreement(closed: Tensor, measured: Tensor) -> Agreement:
    """Of two tables [K,C]."""
    a, b = closed.double(), measured.double()
    return Agreement(
        correlation(a, b),
        correlation(ranks(a), ranks(b)),
        correlation(a - a.mean(dim=0), b - b.mean(dim=0)),
        float(a.sum() / b.sum()) if float(b.sum()) else math.nan,
    )


def correlation(a: Tensor, b: Tensor) -> float:
    """Pearson's, over all entries; NaN where either is constant."""
    a, b = a.flatten() - a.mean(), b.flatten() - b.mean()
    scale = float(a.norm() * b.norm())
    return float(a @ b) / scale if scale else math.nan


def ranks(values: Tensor) -> Tensor:
    """Ranks from 1 of all entries, ties averaged, float64."""
    return torch.from_numpy(rankdata(values.numpy(), axis=None)).double().reshape(values.shape)
