"""Spectral norm against the singular value decomposition, and the first draws of weights."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sarigan.layers.spectral_norm import (
    SpectralConv2d,
    SpectralEmbedding,
    SpectralLinear,
    SpectralNorm,
    initialize_weights,
    spectral_modules,
    update_spectral_norms,
)


@pytest.mark.parametrize("shape", [(5, 7), (7, 5), (6, 3, 3, 3)])
def test_the_largest_singular_value_becomes_one(shape: tuple[int, ...]) -> None:
    weight = torch.randn(shape, dtype=torch.float64)
    norm = SpectralNorm(weight).double()
    for _ in range(2000):
        norm.iterate(weight)
    expected = weight / torch.linalg.svdvals(weight.flatten(start_dim=1))[0]
    torch.testing.assert_close(norm(weight), expected, rtol=1e-6, atol=1e-9)


def test_one_iteration_is_one_step_and_a_forward_pass_is_none() -> None:
    weight = torch.randn(4, 6, dtype=torch.float64)
    norm = SpectralNorm(weight).double()
    u, v = norm.u.clone(), norm.v.clone()
    torch.testing.assert_close(norm(weight), weight / (u @ weight @ v))
    assert torch.equal(norm.u, u) and torch.equal(norm.v, v)
    norm.iterate(weight)
    v = weight.t() @ u / (weight.t() @ u).norm()
    torch.testing.assert_close(norm.v, v)
    torch.testing.assert_close(norm.u, weight @ v / (weight @ v).norm())


def test_the_gradient_is_that_of_w_over_its_norm() -> None:
    """At the singular vectors: dW - u v^T <G, W>/sigma^2, of which autograd of the decomposition knows nothing here."""
    weight = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    norm = SpectralNorm(weight).double()
    for _ in range(3000):
        norm.iterate(weight)
    upstream = torch.randn(3, 4, dtype=torch.float64)
    (found,) = torch.autograd.grad((norm(weight) * upstream).sum(), weight)
    (expected,) = torch.autograd.grad((weight / torch.linalg.matrix_norm(weight, 2) * upstream).sum(), weight)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


def test_layers_use_the_normalised_weight() -> None:
    x = torch.randn(2, 3, 5, 5, dtype=torch.float64)
    network = nn.ModuleList([SpectralConv2d(3, 4, 3), SpectralLinear(6, 5), SpectralEmbedding(7, 5)]).double()
    initialize_weights(network, "normal", iterations=500)
    assert len(list(spectral_modules(network))) == 3
    conv, linear, embedding = network
    with torch.no_grad():
        conv.bias.normal_()
        linear.bias.normal_()
    weights = [m.weight.detach() / torch.linalg.svdvals(m.weight.detach().flatten(start_dim=1))[0] for m in network]
    torch.testing.assert_close(conv(x), F.conv2d(x, weights[0], conv.bias, padding=1), rtol=1e-5, atol=1e-6)
    code = torch.randn(2, 6, dtype=torch.float64)
    torch.testing.assert_close(linear(code), code @ weights[1].t() + linear.bias, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(embedding(torch.tensor([6, 0])), weights[2][[6, 0]], rtol=1e-5, atol=1e-6)


def test_orthogonal_weights_have_equal_singular_values() -> None:
    network = nn.ModuleList([SpectralConv2d(3, 40, 3), SpectralConv2d(40, 4, 3, bias=False), SpectralLinear(9, 5),
                             SpectralEmbedding(6, 5), nn.Embedding(4, 8)])  # fmt: skip
    initialize_weights(network, "orthogonal")
    for module in network:
        values = torch.linalg.svdvals(module.weight.detach().flatten(start_dim=1))
        torch.testing.assert_close(values, torch.ones_like(values))
    assert network[0].bias.eq(0).all()
    for norm, weight in spectral_modules(network):
        torch.testing.assert_close(norm(weight), weight, rtol=1e-5, atol=1e-6)  # sigma is 1 from the start


def test_normal_weights_have_a_deviation_of_002() -> None:
    network = SpectralLinear(200, 200)
    initialize_weights(network, "normal")
    assert abs(float(network.weight.std()) / 0.02 - 1) < 0.02
    u = network.spectral.u.clone()
    update_spectral_norms(network)
    assert not torch.equal(u, network.spectral.u)
