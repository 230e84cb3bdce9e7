"""The mapping network: pixel norm, equalised layers with leaky ReLU, the last one widened to [w_h, w_z]."""

import math

import numpy as np
import torch

from sarigan.models.generator import MappingNetwork


def test_against_numpy() -> None:
    torch.manual_seed(0)
    network = MappingNetwork(z_dim=5, style_dim=4, w_dim=8, num_layers=3).double()
    with torch.no_grad():
        for layer in network.layers:
            layer.bias.normal_(std=50)  # times 0.01: of the size of the features
    z = torch.randn(6, 5, dtype=torch.float64)
    x = z.numpy() / np.sqrt((z.numpy() ** 2).mean(axis=1, keepdims=True) + 1e-8)
    for layer in network.layers:
        weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
        x = x @ (weight * 0.01 / math.sqrt(weight.shape[1])).T + 0.01 * bias
        x = np.where(x > 0, x, 0.2 * x) * math.sqrt(2)
    np.testing.assert_allclose(network(z).detach().numpy(), x, rtol=1e-10)
    assert x.shape == (6, 8)


def test_widths() -> None:
    network = MappingNetwork(z_dim=512, style_dim=512, w_dim=1024)
    shapes = [tuple(layer.weight.shape) for layer in network.layers]
    assert shapes == [(512, 512)] * 7 + [(1024, 512)]
    assert [tuple(layer.weight.shape) for layer in MappingNetwork(3, 4, 8, num_layers=1).layers] == [(8, 3)]


def test_length_of_z_does_not_matter() -> None:
    network = MappingNetwork(8, 8, 16)
    z = torch.randn(3, 8)
    torch.testing.assert_close(network(z), network(10 * z), rtol=1e-4, atol=1e-5)
