"""Attentive normalisation against slow loops; what it is without regions, and with one."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from sarigan.systems.inpainting.two_stage.attentive_normalization import (
    AttentiveNormalization,
    normalized_by_region,
    orthogonality,
)
from sarigan.systems.system import count_parameters


def by_loops(module: AttentiveNormalization, x: np.ndarray, positions: np.ndarray | None, released: bool) -> np.ndarray:
    """One sample x [C,P]: the equations, sum by sum."""
    weights = {name: p.detach().numpy() for name, p in module.named_parameters()}
    channels, places = x.shape
    count = len(weights["sampling"])

    def layer(name: str) -> np.ndarray:
        return weights[f"{name}.weight"][:, :, 0, 0] @ x + weights[f"{name}.bias"][:, None]

    key, query, value = layer("key"), layer("query"), layer("value")
    shares = np.zeros((count, places))
    for k in range(count):
        for p in range(places):
            logit = sum(weights["regions.weight"][k, c, 0, 0] * x[c, p] for c in range(channels))
            if positions is not None:
                chosen = int(positions[k] * places)
                logit += min(max(weights["sampling"][k], 0), 1) * sum(key[:, chosen] * query[:, p])
            shares[k, p] = math.exp(logit / 10)
    shares /= shares.sum(axis=0)
    found = np.zeros_like(x)
    for k in range(count):
        mass = sum(shares[k])
        for c in range(channels):
            if released:
                mean = sum(value[c] * shares[k]) / places / mass
                deviation = math.sqrt(sum((value[c, p] * shares[k, p] - mean) ** 2 for p in range(places)) / mass)
            else:
                mean = sum(value[c] * shares[k]) / mass
                deviation = math.sqrt(sum(shares[k, p] * (value[c, p] - mean) ** 2 for p in range(places)) / mass)
            found[c] += shares[k] * (value[c] - mean) / (deviation + 1e-7)
    return x + weights["rho"][0] * found


def module_of(channels: int, regions: int, released: bool = False) -> AttentiveNormalization:
    torch.manual_seed(0)
    module = AttentiveNormalization(channels, regions, released).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
        module.sampling.copy_(torch.linspace(-0.5, 1.5, regions))
    return module


@pytest.mark.parametrize("sampled", [True, False])
@pytest.mark.parametrize("released", [True, False])
def test_against_loops(released: bool, sampled: bool) -> None:
    module = module_of(8, 3, released)
    x = 2 * torch.randn(2, 8, 3, 4, dtype=torch.float64) + 1
    positions = torch.rand(2, 3, dtype=torch.float64) if sampled else None
    found = module(x, torch.empty(0), positions)
    for n in range(2):
        drawn = None if positions is None else positions[n].numpy()
        expected = by_loops(module, x[n].flatten(1).numpy(), drawn, released)
        assert np.allclose(found[n].detach().flatten(1).numpy(), expected, atol=1e-6)


def test_it_starts_as_the_identity() -> None:
    module = AttentiveNormalization(8, 4, False)
    x = torch.randn(2, 8, 5, 5)
    assert torch.equal(module(x, torch.empty(0), torch.rand(2, 4)), x)
    module(x, torch.empty(0), torch.rand(2, 4)).square().sum().backward()
    assert module.rho.grad != 0


def test_one_region_is_instance_norm() -> None:
    """As released, with one region, v is divided by its root mean square: the mean that is taken off is P times too small."""
    torch.manual_seed(0)
    values, shares = 3 * torch.randn(2, 4, 6, 6, dtype=torch.float64) + 2, torch.ones(2, 1, 36, dtype=torch.float64)
    found = normalized_by_region(values.flatten(2), shares).reshape_as(values)
    assert torch.allclose(found, F.instance_norm(values, eps=0), atol=1e-9)
    faulty = normalized_by_region(values.flatten(2), shares, as_released=True).reshape_as(values)
    rms = values.square().mean(dim=(2, 3), keepdim=True).sqrt()
    assert torch.allclose(faulty, values / rms, rtol=0.05, atol=0.1) and not torch.allclose(faulty, found, atol=0.1)


def test_regions_that_do_not_overlap_are_normalised_each_alone() -> None:
    torch.manual_seed(0)
    values, shares = torch.randn(1, 3, 10, dtype=torch.float64), torch.zeros(1, 2, 10, dtype=torch.float64)
    shares[:, 0, :4], shares[:, 1, 4:] = 1, 1
    found = normalized_by_region(values, shares)
    for part in (slice(0, 4), slice(4, 10)):
        v = values[:, :, part]
        expected = (v - v.mean(2, keepdim=True)) / v.std(2, unbiased=False, keepdim=True)
        assert torch.allclose(found[:, :, part], expected, atol=1e-6)


def test_orthogonality() -> None:
    torch.manual_seed(0)
    weight = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64)).Q[:5]
    assert orthogonality(weight) < 1e-20
    weight = torch.randn(5, 8, dtype=torch.float64)
    product = weight @ weight.T
    by_hand = sum((float(product[i, j]) - (i == j)) ** 2 for i in range(5) for j in range(5))
    assert float(orthogonality(weight)) == pytest.approx(by_hand)
    assert float(orthogonality(weight, True)) == pytest.approx(float(weight.sum(0).square().sum()) - 5)
    # N(0,1) starts near 3e5 at 128 channels, rows of length 1 near 2.
    torch.manual_seed(0)
    released, ours = (AttentiveNormalization(128, 16, flag).penalty() for flag in (True, False))
    assert orthogonality(AttentiveNormalization(128, 16, True).regions.weight.flatten(1)) > 1e5
    assert ours < 5 and released is not None


def test_size_and_extremes() -> None:
    assert count_parameters(AttentiveNormalization(128, 16, False)) == 22_705
    module = AttentiveNormalization(8, 4, False)
    with torch.no_grad():
        module.rho.fill_(1)
    flat = torch.ones(1, 8, 3, 3, requires_grad=True)
    found = module(flat, torch.empty(0), torch.tensor([[0.0, 1.0, 0.999, 0.5]]))
    (gradient,) = torch.autograd.grad(found.sum(), flat)
    assert found.isfinite().all() and gradient.isfinite().all()
