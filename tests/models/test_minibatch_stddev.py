"""Minibatch standard deviation against a loop over its strided groups."""

import numpy as np
import pytest
import torch
from torch import Tensor

from sarigan.models.discriminator import MinibatchStddev


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def naive_minibatch_stddev(x: np.ndarray, group_size: int) -> np.ndarray:
    """Sample n belongs to group n mod M, M = N / size; the statistic of a group stands in all its samples."""
    n = len(x)
    size = max(g for g in range(1, min(group_size, n) + 1) if n % g == 0)
    m = n // size
    result = np.zeros(n)
    for group in range(m):
        members = [sample for sample in range(n) if sample % m == group]
        deviations = np.sqrt(x[members].var(axis=0) + 1e-8)
        result[members] = deviations.mean()
    return result


@pytest.mark.parametrize(("n", "group_size"), [(8, 4), (4, 4), (2, 4), (6, 4), (1, 4), (12, 3), (7, 4)])
def test_minibatch_stddev(n: int, group_size: int) -> None:
    x = normal(n, 3, 4, 5)
    y = MinibatchStddev(group_size)(x)
    assert y.shape == (n, 4, 4, 5) and torch.equal(y[:, :3], x)
    expected = naive_minibatch_stddev(x.numpy(), group_size)
    np.testing.assert_allclose(y[:, 3].numpy(), expected[:, None, None] * np.ones((1, 4, 5)), rtol=1e-10)


@pytest.mark.parametrize("num_shards", [2, 4])
def test_strided_shards_keep_the_groups(num_shards: int) -> None:
    """Shard s takes samples s, s+S, s+2S, ...: with 4 samples a group and 16 in the batch, 2 or 4 shards change nothing."""
    x, layer = normal(16, 3, 4, 4), MinibatchStddev(4)
    whole = layer(x)
    for shard in range(num_shards):
        torch.testing.assert_close(layer(x[shard::num_shards]), whole[shard::num_shards], rtol=1e-14, atol=0)
    contiguous = layer(x[:8])
    assert not torch.allclose(contiguous, whole[:8])


@pytest.mark.parametrize("n", [1, 2, 6, 8])
def test_batches_one_after_the_other_share_no_group(n: int) -> None:
    first, second = normal(n, 3, 4, 4), 3 * normal(n, 3, 4, 4) + 1
    layer = MinibatchStddev(4)
    together = layer(torch.cat([first, second]), num_batches=2)
    assert torch.equal(together, torch.cat([layer(first), layer(second)]))


def test_minibatch_stddev_of_identical_samples_has_a_finite_gradient() -> None:
    x = torch.ones(4, 3, 2, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(MinibatchStddev()(x).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), x)
    assert gradient.isfinite().all() and second.isfinite().all()
