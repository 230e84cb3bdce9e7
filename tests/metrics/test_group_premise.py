"""Correlation of activations and the Mantel test, against numpy and scipy."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from sarigan.errors import InputError
from sarigan.layers.feature_correlation import feature_correlation, feature_moments
from sarigan.metrics.groups.premise import (
    PremiseConfig,
    activation_correlations,
    mantel_spearman,
    premise_test,
)
from sarigan.metrics.latent_sampling import broadcast_latent, latent_batches
from sarigan.models.generator import Generator

Build = Callable[..., Any]


def symmetric(seed: int, size: int = 12) -> torch.Tensor:
    x = torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x + x.t()


def test_spearman_against_scipy() -> None:
    a, b = symmetric(0), symmetric(1) + symmetric(0)
    upper = np.triu_indices(12, k=1)
    expected = spearmanr(a.numpy()[upper], b.numpy()[upper]).statistic
    found = mantel_spearman(a, b, num_permutations=300, seed=0)
    assert found.score == pytest.approx(expected, rel=1e-10)
    assert abs(found.null_mean) < 0.05 and found.z > 3


def test_chance_is_that_of_renamed_channels() -> None:
    """Mean and deviation of Spearman's correlation, by scipy, with the channels of one matrix renamed."""
    a, b = symmetric(0, 7), symmetric(1, 7) + symmetric(0, 7)
    upper = np.triu_indices(7, k=1)
    source = torch.Generator().manual_seed(4)
    chance = []
    for _ in range(30):
        order = torch.randperm(7, generator=source)
        chance.append(spearmanr(a.numpy()[upper], b[order][:, order].numpy()[upper]).statistic)
    found = mantel_spearman(a, b, num_permutations=30, seed=4)
    assert found.null_mean == pytest.approx(np.mean(chance), rel=1e-9)
    assert found.z == pytest.approx((found.score - np.mean(chance)) / np.std(chance, ddof=1), rel=1e-9)


def test_channels_that_never_vary_correlate_with_none() -> None:
    """Streamed in two parts; the constant channel's row is 0, not NaN."""
    x = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x[:, 2] = 1.5
    found = feature_correlation(sum(feature_moments(part) for part in x.split(4))).numpy()
    varying = [0, 1, 3]
    expected = np.corrcoef(x[:, varying].transpose(0, 1).flatten(start_dim=1).numpy())
    np.testing.assert_allclose(found[np.ix_(varying, varying)], expected, atol=1e-12)
    assert (found[2, varying] == 0).all() and (found[varying, 2] == 0).all()


def test_a_large_mean_costs_no_digits() -> None:
    """float32 features of deviation 1 about 1000: their products are summed in float64."""
    x = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(1)) + 1000
    expected = np.corrcoef(x.double().transpose(0, 1).flatten(start_dim=1).numpy())
    np.testing.assert_allclose(feature_correlation(feature_moments(x.double())).numpy(), expected, atol=1e-6)


def test_channels_that_share_pairs_are_no_evidence() -> None:
    """Unrelated matrices: within chance."""
    assert abs(mantel_spearman(symmetric(2), symmetric(3), num_permutations=300, seed=0).z) < 3


def test_streamed_correlation_against_numpy(tiny_config: Build) -> None:
    torch.manual_seed(0)
    generator = Generator(tiny_config().generator)
    config = PremiseConfig(num_images=10, num_permutations=5, batch_size=4)
    found = activation_correlations(generator, config)

    inputs: list[torch.Tensor] = []
    layer = dict(generator.synthesis.named_layers())["8x8.conv"]
    handle = layer.register_forward_pre_hook(lambda module, arguments: inputs.append(arguments[0].detach()))
    with torch.no_grad():
        for batch in latent_batches(generator, 10, 10, 0):
            generator.synthesize(broadcast_latent(generator, generator.mapping(batch.z)), batch.noise)
    handle.remove()
    rows = inputs[0].double().transpose(0, 1).flatten(start_dim=1).numpy()
    np.testing.assert_allclose(found["8x8.conv"].numpy(), np.corrcoef(rows), atol=1e-5)
    assert not layer._forward_pre_hooks


def test_kernels_that_are_alike_make_channels_that_are_alike(tiny_config: Build) -> None:
    """Channels that are produced by two kinds of kernels are found by the test."""
    torch.manual_seed(1)
    generator = Generator(tiny_config().generator)
    kernel = generator.grouped_layers()[1].kernel  # of 8x8.up, which produces the input of 8x8.conv
    with torch.no_grad():
        kernel[2:].copy_(kernel[:2].repeat(3, 1, 1, 1) + 0.1 * torch.randn_like(kernel[2:]))
    found = premise_test(generator, PremiseConfig(num_images=32, num_permutations=200))
    assert found["8x8.conv"].z > 3 and found["8x8.conv"].score > 0.2


def test_wrong_input() -> None:
    with pytest.raises(InputError, match="num_images must be at least 1, got 0"):
        PremiseConfig(num_images=0)
