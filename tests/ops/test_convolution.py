"""Convolutions by matrix products against PyTorch's own, to second order."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from ops import conv2d, conv_transpose2d, convolution

SHAPES = [(3, 1, 1, 6, 7), (3, 2, 0, 7, 9), (3, 2, 0, 8, 6), (1, 1, 0, 5, 4), (1, 2, 0, 5, 6), (4, 3, 2, 9, 8), (2, 2, 1, 6, 6)]
TRANSPOSED = {False: (conv2d, F.conv2d), True: (conv_transpose2d, F.conv_transpose2d)}


def tensors(kernel, height, width, transposed, channels=(18, 16), batch=2):
    source = torch.Generator().manual_seed(0)
    outputs, inputs = channels
    x = torch.randn(batch, outputs if transposed else inputs, height, width, generator=source, dtype=torch.float64)
    weight = torch.randn(outputs, inputs, kernel, kernel, generator=source, dtype=torch.float64)
    return x.contiguous(memory_format=torch.channels_last).requires_grad_(), weight.requires_grad_()


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_value_gradient_and_gradient_of_the_gradient(shape, transposed) -> None:
    kernel, stride, padding, height, width = shape
    ours, theirs = TRANSPOSED[transposed]
    x, weight = tensors(kernel, height, width, transposed)
    results = []
    for function in (ours, theirs):
        y = function(x, weight, stride=stride, padding=padding)
        first = torch.autograd.grad((y.square() * y.detach().cos()).sum(), (x, weight), create_graph=True)
        penalty = sum((gradient**3).sum() for gradient in first)
        second = torch.autograd.grad(penalty, (x, weight), create_graph=True)
        third = torch.autograd.grad(sum(gradient.square().sum() for gradient in second), (x, weight))
        results.append((y, *first, *second, *third))
    assert "Convolution" not in type(results[0][0].grad_fn).__name__ and "Convolution" in type(results[1][0].grad_fn).__name__
    for mine, reference in zip(*results, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-9, atol=1e-9 * reference.abs().max().item())


@pytest.mark.parametrize("transposed", [False, True])
def test_gradcheck_and_gradgradcheck(transposed, monkeypatch) -> None:
    monkeypatch.setattr(convolution, "_FEWEST_CHANNELS", 1)
    x, weight = tensors(3, 4, 5, transposed, channels=(2, 3), batch=2)
    function = TRANSPOSED[transposed][0]

    def call(x, weight):
        return function(x, weight, 2, 1)

    assert torch.autograd.gradcheck(call, (x, weight))
    assert torch.autograd.gradgradcheck(call, (x, weight))


@pytest.mark.parametrize("transposed", [False, True])
def test_functional_gradient_nested(transposed) -> None:
    ours, theirs = TRANSPOSED[transposed]
    x, weight = tensors(3, 5, 5, transposed)

    def penalty(function):
        def inner(weight):
            return torch.func.grad(lambda x: function(x, weight, stride=2).square().sum())(x.detach()).square().sum()

        return torch.func.grad(inner)(weight.detach())

    torch.testing.assert_close(penalty(ours), penalty(theirs))


def test_the_gradient_of_the_weight_is_made_only_where_it_is_asked_for(monkeypatch) -> None:
    calls = []
    correlate = convolution._Correlate.call
    monkeypatch.setattr(convolution._Correlate, "call", lambda *args: calls.append(args) or correlate(*args))
    x, weight = tensors(3, 6, 6, False)
    (gradient,) = torch.autograd.grad(conv2d(x, 2 * weight, 1, 1).square().sum(), x, create_graph=True)
    assert not calls
    gradient.square().sum().backward()
    assert calls and weight.grad is not None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda x, w: (x.contiguous(), w),
        lambda x, w: (x[:0], w),
        lambda x, w: (x[:, :8], w[:, :8]),
        lambda x, w: (x, w.detach()),
        lambda x, w: (x.bfloat16(), w.bfloat16()),
    ],
    ids=["contiguous", "empty", "few channels", "fixed weight", "bfloat16"],
)
def test_everything_else_is_left_to_pytorch(spoil) -> None:
    x, weight = spoil(*tensors(3, 6, 6, False))
    y = conv2d(x, weight, 1, 1)
    assert torch.equal(y, F.conv2d(x, weight, padding=1)) and "Convolution" in type(y.grad_fn).__name__


def test_autocast_decides_the_type() -> None:
    x, weight = (t.detach().float().requires_grad_() for t in tensors(3, 6, 6, False))
    with torch.autocast("cpu", torch.bfloat16):
        assert conv2d(x, weight, 1, 1).dtype == torch.bfloat16
    assert conv2d(x, weight, 1, 1).dtype == torch.float32


def test_any_number_of_threads_gives_the_same_to_rounding() -> None:
    x, weight = tensors(3, 12, 12, False, channels=(32, 24))
    gradients = []
    before = torch.get_num_threads()
    try:
        for threads, stride in itertools.product((1, 2), (1, 2)):
            torch.set_num_threads(threads)
            gradients.append(torch.autograd.grad(conv2d(x, weight, stride, 1).sin().sum(), (x, weight)))
    finally:
        torch.set_num_threads(before)
    for one, two in zip(gradients[:2], gradients[2:], strict=True):
        torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-12)
