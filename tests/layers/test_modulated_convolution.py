"""The scaled form of the modulated convolution against the per-sample weights it stands for (Eq. 6), in float64."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sarigan.layers.conv import EqualizedConv2d
from sarigan.layers.modulation.forms import WeightModulation
from sarigan.layers.style import StyleCodes

N, CHANNELS, OUT, SIZE, GROUPS = 3, 6, 5, 7, 3
MEMBERS = [[0, 3], [1, 2, 5], [4]]
TOLERANCE = 1e-12


def scale_of_equation_5(z: Tensor, h: Tensor | None, epsilon: float) -> Tensor:
    """f [N,I], group by group."""
    if h is None:
        return z
    f = torch.zeros_like(z)
    for i, members in enumerate(MEMBERS):
        masked = torch.zeros_like(z)
        masked[:, members] = z[:, members]
        f = f + h[:, i : i + 1] * masked / torch.sqrt(masked.square().sum(dim=1, keepdim=True) / CHANNELS + epsilon)
    return f


def per_sample_convolution(x: Tensor, weight: Tensor, f: Tensor, demodulate: bool, epsilon: float, up: bool) -> Tensor:
    """One grouped convolution with weights w'' [N,O,I,K,K]; up: transposed, then the filter [1,3,3,1]."""
    w = weight[None] * f[:, None, :, None, None]
    if demodulate:
        w = w / torch.sqrt(w.square().sum(dim=(2, 3, 4), keepdim=True) + epsilon)
    n, o, i, k, _ = w.shape
    flat = x.reshape(1, n * i, *x.shape[2:])
    if not up:
        y = F.conv2d(flat, w.reshape(n * o, i, k, k), padding=k // 2, groups=n)
        return y.reshape(n, o, *y.shape[2:])
    y = F.conv_transpose2d(flat, w.transpose(1, 2).reshape(n * i, o, k, k), stride=2, groups=n)
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype) / 4
    kernel = torch.outer(taps, taps).expand(n * o, 1, 4, 4)
    y = F.conv2d(F.pad(y, (1, 1, 1, 1)), kernel, groups=n * o)
    return y.reshape(n, o, *y.shape[2:])


def assert_same(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert expected.abs().max() > 0
    assert (found - expected).abs().max() <= TOLERANCE * expected.abs().max()


@pytest.mark.parametrize("epsilon", [0.0, 1e-8])
@pytest.mark.parametrize(
    ("kernel_size", "up", "grouped", "demodulate"),
    [(3, False, False, True), (3, True, False, True), (3, False, True, True), (3, True, True, True), (1, False, False, False)],
    ids=["plain", "up", "grouped", "grouped-up", "to-rgb"],
)
def test_values_and_gradients(kernel_size: int, up: bool, grouped: bool, demodulate: bool, epsilon: float) -> None:
    torch.manual_seed(0)
    convolution = EqualizedConv2d(CHANNELS, OUT, kernel_size, up=up).double()
    modulation = WeightModulation(demodulate, epsilon)
    membership = torch.zeros(CHANNELS, GROUPS, dtype=torch.float64)
    for i, members in enumerate(MEMBERS):
        membership[members, i] = 1
    x = torch.randn(N, CHANNELS, SIZE, SIZE, dtype=torch.float64, requires_grad=True)
    z = torch.randn(N, CHANNELS, dtype=torch.float64, requires_grad=True)
    h = torch.randn(N, GROUPS, dtype=torch.float64, requires_grad=True) if grouped else None
    inputs = [x, z, convolution.weight] + ([] if h is None else [h])

    def scaled() -> Tensor:
        codes = StyleCodes(z, h, membership=membership) if grouped else StyleCodes(z)
        return modulation(x, codes, convolution)

    def per_sample() -> Tensor:
        weight = convolution.weight * (CHANNELS * kernel_size**2) ** -0.5
        return per_sample_convolution(x, weight, scale_of_equation_5(z, h, epsilon), demodulate, epsilon, up)

    size = 2 * SIZE if up else SIZE
    direction = torch.randn(N, OUT, size, size, dtype=torch.float64)
    second = [torch.randn_like(value) for value in inputs]

    def derivatives(function: Callable[[], Tensor]) -> list[Tensor]:
        """Value, first derivatives, and second derivatives along `second`."""
        y = function()
        # A curved function of y, so that second derivatives pass through every input.
        first = torch.autograd.grad((y * direction).sum() + y.pow(3).sum() / 6, inputs, create_graph=True)
        product = sum((a * b).sum() for a, b in zip(first, second, strict=True))
        return [y, *first, *torch.autograd.grad(product, inputs)]

    for found, expected in zip(derivatives(scaled), derivatives(per_sample), strict=True):
        assert_same(found, expected)


@torch.no_grad()
def test_output_variance_is_one_for_normal_features() -> None:
    """What demodulation is for: unit variance whatever the scale of the style."""
    torch.manual_seed(0)
    convolution = EqualizedConv2d(32, 16, 3)
    x = torch.randn(8, 32, 32, 32)
    codes = StyleCodes(torch.exp(torch.randn(8, 32)) * 100)
    y = WeightModulation()(x, codes, convolution)[:, :, 1:-1, 1:-1]
    assert abs(float(y.var()) - 1) < 0.05


def test_offset_of_biases_is_the_convolution_of_a_constant_image() -> None:
    """With z_b and h_b the features are f x + a: away from the border the offset is d_o sum_ik w_oik a_i."""
    torch.manual_seed(0)
    membership = torch.zeros(CHANNELS, GROUPS, dtype=torch.float64)
    for i, members in enumerate(MEMBERS):
        membership[members, i] = 1
    draw = lambda size: torch.randn(N, size, dtype=torch.float64)  # noqa: E731
    codes = StyleCodes(draw(CHANNELS), draw(GROUPS), draw(CHANNELS), draw(GROUPS), membership)
    convolution = EqualizedConv2d(CHANNELS, OUT, 3).double()
    x = torch.randn(N, CHANNELS, SIZE, SIZE, dtype=torch.float64)
    found = WeightModulation(epsilon=0.0)(x, codes, convolution)
    weight = (convolution.weight * convolution.scale).detach()
    for n in range(N):
        f, a = torch.zeros(CHANNELS, dtype=torch.float64), torch.zeros(CHANNELS, dtype=torch.float64)
        for i, members in enumerate(MEMBERS):
            z, b = codes.z_scale[n, members], codes.z_bias[n, members]
            mean = b.sum() / CHANNELS
            sigma = torch.sqrt((z.square() + b.square()).sum() / CHANNELS - mean**2)
            f[members] = codes.h_scale[n, i] * z / sigma
            a[members] = codes.h_scale[n, i] * (b - mean) / sigma + codes.h_bias[n, i]
        d = 1 / (weight * f[:, None, None]).square().sum(dim=(1, 2, 3)).sqrt()
        image = x[n] * f[:, None, None] + a[:, None, None]
        expected = F.conv2d(image[None], weight)[0] * d[:, None, None]
        torch.testing.assert_close(found[n, :, 1:-1, 1:-1].detach(), expected, rtol=1e-12, atol=1e-12)
