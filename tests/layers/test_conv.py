"""Equalised convolutions, plain, up and down, against numpy loops and scipy filters."""

import math

import numpy as np
import pytest
import scipy.signal
import torch
from torch import Tensor

from sarigan.layers.conv import EqualizedConv2d


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def naive_convolution(x: np.ndarray, weight: np.ndarray, padding: int, stride: int = 1) -> np.ndarray:
    """Cross-correlation by loops. x [N,I,H,W], weight [O,I,K,K]."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    k = weight.shape[2]
    rows, columns = ((size - k) // stride + 1 for size in x.shape[2:])
    y = np.zeros((len(x), len(weight), rows, columns))
    for row in range(rows):
        for column in range(columns):
            patch = x[:, :, row * stride : row * stride + k, column * stride : column * stride + k]
            y[:, :, row, column] = np.einsum("nikl,oikl->no", patch, weight)
    return y


def fir(x: np.ndarray, before: int, after: int, gain: float) -> np.ndarray:
    """The filter [1,3,3,1]/8 along both axes, by scipy."""
    taps = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64 * gain
    x = np.pad(x, ((0, 0), (0, 0), (before, after), (before, after)))
    return np.stack([[scipy.signal.convolve2d(image, taps, mode="valid") for image in sample] for sample in x])


def test_same_convolution() -> None:
    torch.manual_seed(0)
    layer = EqualizedConv2d(3, 4, 3).double()
    x = normal(2, 3, 6, 5)
    expected = naive_convolution(x.numpy(), layer.weight.detach().numpy() / math.sqrt(27), padding=1)
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, rtol=1e-10, atol=1e-12)


def test_up_convolution_inserts_zeros_convolves_and_filters() -> None:
    """Transposed convolution = correlation of the zero-inserted image with the flipped kernel; then the filter, gain 4."""
    torch.manual_seed(0)
    layer = EqualizedConv2d(3, 4, 3, up=True).double()
    x = normal(2, 3, 5, 5)
    inserted = np.zeros((2, 3, 9, 9))
    inserted[:, :, ::2, ::2] = x.numpy()
    weight = layer.weight.detach().numpy()[:, :, ::-1, ::-1] / math.sqrt(27)
    expected = fir(naive_convolution(inserted, weight, padding=2), 1, 1, 4.0)
    assert expected.shape == (2, 4, 10, 10)
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("kernel_size", "padding"), [(3, 2), (1, 1)])
def test_down_convolution_filters_then_strides(kernel_size: int, padding: int) -> None:
    torch.manual_seed(0)
    layer = EqualizedConv2d(3, 4, kernel_size, down=True).double()
    x = normal(2, 3, 8, 8)
    weight = layer.weight.detach().numpy() / math.sqrt(3 * kernel_size**2)
    expected = naive_convolution(fir(x.numpy(), padding, padding, 1.0), weight, padding=0, stride=2)
    assert expected.shape == (2, 4, 4, 4)
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, rtol=1e-10, atol=1e-12)
