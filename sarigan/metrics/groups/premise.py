"""The premise of grouping by kernels: do channels with similar kernels respond alike? (SariGAN sec. 3.1)

Spearman's correlation, over pairs of channels, of the kernels' cosine S_ij (Eq. 1) with the correlation of the channels'
activations over images and positions. Pairs share channels, so the null distribution comes from permuting the channels of one
of the two matrices (Mantel 1967). Near 0: channels with similar kernels do not respond alike.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sarigan import distributed
from sarigan.editing.rendering import record_layer_inputs
from sarigan.errors import require_at_least_1
from sarigan.layers.feature_correlation import feature_correlation, feature_moments
from sarigan.layers.kernel_similarity import kernel_similarity
from sarigan.metrics.groups.permutation_null import NullTest, check_permutations, permutation_test
from sarigan.metrics.groups.quality import grouped_layers
from sarigan.metrics.latent_sampling import broadcast_latent, latent_batches
from sarigan.models.generator import Generator


@dataclass(frozen=True)
class PremiseConfig:
    """How many images and permutations."""

    num_images: int = 256
    num_permutations: int = 1000
    batch_size: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        check_permutations(self.num_permutations)
        require_at_least_1(self, "num_images", "batch_size", prefix="groups: ")


@torch.no_grad()
def activation_correlations(
    generator: Generator, config: PremiseConfig, advance: Callable[[int], None] = lambda count: None,
    layers: Sequence[str] | None = None,
) -> dict[str, Tensor]:  # fmt: skip
    """Correlation [c,c] of the input channels of these layers, by layer name; processes share the images.

    layers: None for all that have groups.
    """
    layers = [layer.name for layer in grouped_layers(generator)] if layers is None else layers
    device, channels = generator.mean_latent.device, generator.synthesis.num_channels()
    sums = {name: torch.zeros(channels[name] + 1, channels[name] + 1, dtype=torch.float64, device=device) for name in layers}
    with record_layer_inputs(generator, layers) as inputs:
        for batch in latent_batches(generator, config.num_images, config.batch_size, config.seed):
            generator.synthesize(broadcast_latent(generator, generator.mapping(batch.z, batch.labels)), batch.noise)
            for name, moments in sums.items():
                moments += feature_moments(inputs[name].double())
            advance(len(batch.positions))
    return {name: feature_correlation(distributed.sum_over_ranks(moments)).cpu() for name, moments in sums.items()}


@torch.no_grad()
def premise_test(
    generator: Generator, config: PremiseConfig, advance: Callable[[int], None] = lambda count: None
) -> dict[str, NullTest]:
    """Spearman's correlation of kernel similarity and activation correlation, by layer name. InputError without groups."""
    correlations = activation_correlations(generator, config, advance)
    kernels = {layer.name: layer.kernel.detach().cpu().double() for layer in grouped_layers(generator)}
    return {
        name: mantel_spearman(kernel_similarity(kernel), correlations[name], config.num_permutations, config.seed)
        for name, kernel in kernels.items()
    }


def mantel_spearman(a: Tensor, b: Tensor, num_permutations: int, seed: int) -> NullTest:
    """Spearman's correlation of the entries above the diagonal of two symmetric [c,c], tested by permuted channels."""
    first, second = _centred_ranks(a), _centred_ranks(b)
    scale = float(first.norm() * second.norm()) or 1.0

    def spearman(order: Tensor) -> float:
        return float((first * second[order][:, order]).sum()) / scale

    return permutation_test(spearman, torch.arange(len(a)), num_permutations, seed)


def _centred_ranks(matrix: Tensor) -> Tensor:
    """Ranks (ties averaged) of the entries off the diagonal, less their mean, symmetric, with a zero diagonal."""
    from scipy.stats import rankdata

    upper = torch.triu_indices(len(matrix), len(matrix), offset=1)
    ranks = torch.from_numpy(np.asarray(rankdata(matrix[upper[0], upper[1]].numpy()))).double()
    result = torch.zeros(len(matrix), len(matrix), dtype=torch.float64)
    result[upper[0], upper[1]] = ranks - ranks.mean()
    return result + result.t()
