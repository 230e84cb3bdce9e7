"""upfirdn2d on every path against scipy in float64, and its derivatives against finite differences."""

import math
from functools import partial

import numpy as np
import pytest
import scipy.signal
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from ops import upfirdn2d
from ops._extension import implementation, native_for
from ops.upfirdn2d import resample_filter

# Relative to the sum of absolute products, beside steps of the smallest numbers of the type.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


def along(x: np.ndarray, axis: int, taps: np.ndarray, up: int, down: int, pads: tuple[int, int]) -> np.ndarray:
    """The definition along one axis: upfirdn gives sum_k f[k] u[n - k], and y[m] is that at n = down*m + K-1 - pad0."""
    full = scipy.signal.upfirdn(taps, x, up, 1, axis=axis)
    length, size = x.shape[axis] * up + sum(pads), len(taps)
    wanted = np.arange(0, length - size + 1, down) + size - 1 - pads[0]
    inside = (wanted >= 0) & (wanted < full.shape[axis])
    picked = np.take(full, np.where(inside, wanted, 0), axis=axis)
    return picked * inside.reshape([-1 if i == axis else 1 for i in range(x.ndim)])


def definition(x, taps, up, down, padding, gain) -> np.ndarray:
    """float64 truth for x [N,C,H,W]; a two-dimensional filter is a sum of separable ones, one for each of its rows."""
    left, right, top, bottom = padding
    rows = [(taps, taps)] if taps.ndim == 1 else [(row, np.eye(len(taps))[i]) for i, row in enumerate(taps)]
    return gain * sum(
        along(along(x, 3, across, up[0], down[0], (left, right)), 2, downwards, up[1], down[1], (top, bottom))
        for across, downwards in rows
    )


def margin(weight, x: torch.Tensor):
    # The reference rounds the taps too, and what lies between two passes.
    slack = 4 if native_for(x) is None and x.dtype.itemsize == 2 else 1
    return slack * TOLERANCE[x.dtype] * weight + 4 * torch.finfo(x.dtype).tiny * torch.finfo(x.dtype).eps


@st.composite
def calls(draw):
    """Arguments with at least one pixel of output, half of them among those the fast kernels serve."""
    usual = draw(st.booleans())
    if usual:
        up, down = draw(st.sampled_from([((1, 1), (1, 1)), ((2, 2), (1, 1)), ((1, 1), (2, 2))]))
        shape = (draw(st.integers(1, 9)),)
    else:
        factors = st.tuples(st.integers(1, 4), st.integers(1, 4))
        up, down = draw(factors), draw(factors)
        shape = draw(st.one_of(st.tuples(st.integers(1, 13)), st.tuples(st.integers(1, 6), st.integers(1, 6))))
    size = draw(st.tuples(st.integers(0, 3), st.sampled_from([1, 2, 3, 7, 16, 21]), st.integers(1, 40), st.integers(1, 70)))
    padding = [draw(st.integers(-9, 12)) for _ in range(4)]
    for axis, first in ((3, 0), (2, 2)):  # room for the filter
        short = (shape[0] if axis == 2 else shape[-1]) - size[axis] * up[axis == 2] - padding[first] - padding[first + 1]
        padding[first + 1] += max(short, 0)
    return {
        "size": size,
        "shape": shape,
        "up": up,
        "down": down,
        "padding": tuple(padding),
        "gain": draw(st.sampled_from([1.0, 4.0, -0.7])),
        "dtype": draw(st.sampled_from(list(TOLERANCE))),
        "channels_last": draw(st.booleans()),
        "seed": draw(st.integers(0, 2**31)),
    }


@given(call=calls())
@settings(max_examples=80)
def test_equals_the_definition_forward_and_backward(path: torch.device, call: dict) -> None:
    generator = torch.Generator().manual_seed(call["seed"])
    x = torch.randn(call["size"], generator=generator).to(call["dtype"])
    taps = torch.randn(call["shape"], generator=generator).to(torch.bfloat16).double()  # exact in every type
    layout = torch.channels_last if call["channels_last"] else torch.contiguous_format
    leaf = x.to(path).clone(memory_format=layout).requires_grad_()
    arguments = (call["up"], call["down"], call["padding"], call["gain"])

    y = upfirdn2d(leaf, taps.to(path), *arguments)
    truth = definition(x.double().numpy(), taps.numpy(), *arguments)
    scale = definition(x.double().abs().numpy(), taps.abs().numpy(), *arguments[:3], abs(call["gain"]))

    assert y.dtype == x.dtype and y.shape == truth.shape and y.device == leaf.device
    assert np.all(np.abs(y.detach().cpu().double().numpy() - truth) <= margin(scale, leaf))
    if x.shape[1] > 1 and y.shape[2:] != (1, 1) and x.shape[2:] != (1, 1) and y.numel():
        assert y.is_contiguous(memory_format=layout)

    # <A x, t> = <x, A' t>: the backward pass is the adjoint of the definition.
    t = torch.randn(y.shape, generator=generator).to(x.dtype)
    (gradient,) = torch.autograd.grad(y, leaf, t.to(path))
    expected, weight = adjoint(x.shape, taps, t, arguments)
    assert gradient.dtype == x.dtype
    assert torch.all((gradient.cpu().double() - expected).abs() <= margin(weight, leaf))


def adjoint(shape, taps, t, arguments):
    """The adjoint of the reference form in float64 (whose forward pass has been held to scipy), and of its absolute.

    Under torch.func it is the derivative that PyTorch takes of its own functions.
    """
    up, down, padding, gain = arguments
    found = []
    for f, values, g in ((taps, t.double(), gain), (taps.abs(), t.double().abs(), abs(gain))):
        call = partial(upfirdn2d, filter=f, up=up, down=down, padding=padding, gain=g)
        with implementation("reference"):
            found.append(torch.func.vjp(call, torch.zeros(shape, dtype=torch.float64))[1](values)[0])
    return found


CONFIGURATIONS = [
    {"padding": 1, "gain": 4.0},
    {"up": 2, "padding": (2, 1, 2, 1)},
    {"down": 2, "padding": (1, 1)},
    {"up": (3, 2), "down": (2, 3), "padding": (3, -1, -2, 4), "gain": -0.5},
    {"up": (1, 2), "padding": (-1, 2, 5, -1)},
]


@pytest.mark.parametrize("arguments", CONFIGURATIONS)
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("two_dimensional", [False, True])
def test_first_and_second_derivatives(path, arguments, channels_last, two_dimensional) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 2, 4, 5, generator=generator, dtype=torch.float64).to(path)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    taps = torch.tensor([1.0, 3.0, -2.0, 0.5], device=path)
    taps = torch.outer(taps, taps[:3]) if two_dimensional else taps

    def call(x):
        return upfirdn2d(x, taps, **arguments)

    x.requires_grad_()
    assert torch.autograd.gradcheck(call, x, fast_mode=True)
    # The operator is linear: its square has a second derivative that is not zero.
    assert torch.autograd.gradgradcheck(lambda x: call(x) ** 2, x, fast_mode=True)


class Convolutions(TorchDispatchMode):
    """Counts the convolutions that are run."""

    number = 0

    def __torch_dispatch__(self, operator, types, arguments=(), keywords=None):
        self.number += "convolution" in operator.name()
        return operator(*arguments, **(keywords or {}))


@pytest.mark.parametrize(("length", "passes"), [(4, 1), (9, 2)])
@pytest.mark.parametrize("arguments", CONFIGURATIONS)
def test_no_derivative_forms_that_of_the_constant_filter(arguments, length, passes) -> None:
    """Every derivative of the reference takes as many convolutions as the operator, whatever the number of channels."""
    x = torch.ones(1, 8, 12, 12, requires_grad=True)
    taps = torch.arange(1.0, length + 1)
    with implementation("reference"), Convolutions() as count:
        y = upfirdn2d(x, taps, **arguments)
        assert count.number == passes
        for order in (2, 3, 4):
            slope = torch.ones_like(y, requires_grad=True)
            (gradient,) = torch.autograd.grad(y, x, slope, create_graph=True)
            x, y = slope, gradient
            assert count.number == order * passes


@pytest.mark.parametrize("arguments", CONFIGURATIONS)
def test_third_derivatives(path, arguments) -> None:
    """d^3 sum(A x)^3 / dx^3 along u and v is 6 A'(A u * A v), for short and long filters."""
    generator = torch.Generator().manual_seed(0)
    x, u, v = torch.randn(3, 2, 3, 12, 12, generator=generator, dtype=torch.float64).to(path)
    x.requires_grad_()
    for taps in (torch.arange(1.0, 5.0, device=path), torch.arange(1.0, 10.0, device=path)):
        call = partial(upfirdn2d, filter=taps, **arguments)
        (found,) = torch.autograd.grad(call(x).pow(3).sum(), x, create_graph=True)
        for direction in (u, v):
            (found,) = torch.autograd.grad((found * direction).sum(), x, create_graph=True)
        (expected,) = torch.autograd.grad(call(x), x, 6 * call(u) * call(v))
        torch.testing.assert_close(found, expected)


def test_image_kept_by_the_usual_resampling(path) -> None:
    """A constant image stays one inside, up and down."""
    x = torch.full((1, 3, 8, 8), 0.75, device=path)
    taps = resample_filter().to(path)
    up = upfirdn2d(x, taps, up=2, padding=(2, 1, 2, 1), gain=4.0)
    assert up.shape[2:] == (16, 16)
    torch.testing.assert_close(up[:, :, 2:-2, 2:-2], torch.full_like(up[:, :, 2:-2, 2:-2], 0.75))
    down = upfirdn2d(x, taps, down=2, padding=1)
    torch.testing.assert_close(down[:, :, 1:-1, 1:-1], torch.full_like(down[:, :, 1:-1, 1:-1], 0.75))


@pytest.mark.parametrize("make", ["slice", "expanded", "permuted", "offset"])
def test_other_strides(path, make) -> None:
    base = torch.randn(2, 6, 10, 12, device=path)
    x = {
        "slice": base[:, ::2, 1:, ::3],
        "expanded": base[:, :1, :, :].expand(-1, 5, -1, -1),
        "permuted": base.permute(1, 0, 3, 2),
        "offset": base.flatten()[1 : 1 + 2 * 3 * 4 * 5].view(2, 3, 4, 5),
    }[make]
    taps = resample_filter().to(path)
    expected = upfirdn2d(x.clone(memory_format=torch.contiguous_format), taps, up=2, padding=2)
    torch.testing.assert_close(upfirdn2d(x, taps, up=2, padding=2), expected)


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 0, 4, 4), (2, 3, 0, 4), (2, 3, 4, 0)])
def test_empty_input(path, shape) -> None:
    x = torch.zeros(shape, device=path, requires_grad=True)
    y = upfirdn2d(x, resample_filter().to(path), up=2, padding=4)
    assert y.shape == (shape[0], shape[1], shape[2] * 2 + 5, shape[3] * 2 + 5) and not y.any()
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert gradient.shape == shape


def test_crop_that_leaves_only_padding(path) -> None:
    """Everything cropped on one side, zeros added on the other."""
    y = upfirdn2d(torch.ones(1, 2, 4, 4, device=path), resample_filter().to(path), padding=(-6, 9, -4, 4))
    assert y.shape == (1, 2, 1, 4) and not y.any()


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("arguments", [{}, {"up": 2}, {"down": 2}])
def test_a_value_that_is_not_finite_reaches_its_neighbours_only(path, size, arguments) -> None:
    """No tap beyond the filter, not even one of zero, meets an infinity."""
    x = torch.zeros(1, 1, 16, 16, dtype=torch.float64)
    x[0, 0, 8, 8] = math.inf
    up, down = arguments.get("up", 1), arguments.get("down", 1)
    reached = definition((x != 0).double().numpy(), np.ones(size), (up, up), (down, down), (4,) * 4, 1.0)
    y = upfirdn2d(x.to(path), torch.ones(size, device=path), padding=4, **arguments)
    assert np.array_equal(np.isinf(y.cpu().numpy()), reached != 0)


def test_nested_function_transforms(path) -> None:
    """torch.func.grad of torch.func.grad: the second derivative of sum(A x)^3 along v is 6 A'(A x * A v)."""
    x, v = torch.randn(2, 1, 2, 5, 6, dtype=torch.float64, device=path)
    taps = resample_filter().double().to(path)

    def call(x):
        return upfirdn2d(x, taps, up=2, padding=(2, 1, 2, 1), gain=4.0)

    def slope(x):
        return (torch.func.grad(lambda x: call(x).pow(3).sum())(x) * v).sum()

    found = torch.func.grad(slope)(x)
    leaf = torch.zeros_like(x, requires_grad=True)
    (expected,) = torch.autograd.grad(call(leaf), leaf, 6 * call(x) * call(v))
    torch.testing.assert_close(found, expected)


def test_autocast_keeps_the_type(path) -> None:
    x, taps = torch.randn(1, 2, 6, 6, device=path), resample_filter().to(path)
    expected = upfirdn2d(x, taps, padding=1)
    with torch.autocast(path.type, torch.bfloat16):
        found = upfirdn2d(x, taps, padding=1)
        half = upfirdn2d(x.bfloat16(), taps, padding=1)
    assert found.dtype == torch.float32 and half.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected)


def test_thread_count_does_not_matter(library) -> None:
    operators = library("cpu")
    x = torch.randn(3, 40, 65, 65)
    taps = resample_filter()
    results = []
    before = torch.get_num_threads()
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        for layout in (torch.contiguous_format, torch.channels_last):
            arguments = ([1, 1], [1, 1], [2, 2], [64, 64], False, 4.0)
            results.append(operators.upfirdn2d(x.contiguous(memory_format=layout), taps, *arguments))
    torch.set_num_threads(before)
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=0, atol=2e-6)
    for one, other in zip(results[:2], results[2:4], strict=True):
        assert torch.equal(one, other)


def test_captured_whole_by_the_compiler(path) -> None:
    """The graph has no break, and the compiled function agrees."""
    x, taps = torch.randn(1, 2, 6, 6, device=path, requires_grad=True), resample_filter().to(path)

    def call(x):
        return upfirdn2d(x, taps, up=2, padding=(2, 1, 2, 1)).square()

    compiled = torch.compile(call, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), call(x))
    (found,), (expected,) = (torch.autograd.grad(f(x).sum(), x) for f in (compiled, call))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"x": torch.zeros(3, 4, 4)}, ValueError, "x must have four dimensions"),
        ({"x": torch.zeros(1, 1, 4, 4, dtype=torch.int32)}, TypeError, "x must be float16.*torch.int32"),
        ({"x": torch.zeros(1, 1, 4, 4, dtype=torch.complex64)}, TypeError, "x must be float16.*torch.complex64"),
        ({"x": [[1.0]]}, TypeError, "x must be a tensor, got list"),
        ({"filter": torch.zeros(2, 2, 2)}, ValueError, r"filter must have one or two dimensions.*\(2, 2, 2\)"),
        ({"filter": torch.zeros(0)}, ValueError, r"at least one tap.*\(0,\)"),
        ({"filter": torch.ones(3, dtype=torch.int64)}, TypeError, "filter must be float16.*torch.int64"),
        ({"filter": torch.zeros(3, device="meta")}, ValueError, r"filter must be on the device of x \(.*\), got meta"),
        ({"up": 0}, ValueError, "up must be a positive factor, got 0"),
        ({"down": (2, -1)}, ValueError, r"down must be a positive factor, got \(2, -1\)"),
        ({"up": 2.0}, TypeError, "up must be integers, got 2.0"),
        ({"up": True}, TypeError, "up must be integers, got True"),
        ({"padding": 0.5}, TypeError, "padding must be integers, got 0.5"),
        ({"padding": (1, 2, 3)}, ValueError, r"padding must be an integer, \(x, y\).*\(1, 2, 3\)"),
        ({"padding": -1}, ValueError, "padding .* leaves less than one output pixel"),
        ({"down": 2**63}, ValueError, "down must be integers of 32 bits, got 9223372036854775808"),
        ({"gain": (1,)}, TypeError, "gain must be a number, got tuple"),
        ({"gain": float("nan")}, ValueError, "gain must be finite, got nan"),
    ],
)
def test_bad_arguments(path, change, error, words) -> None:
    arguments = {"x": torch.zeros(1, 1, 4, 4), "filter": torch.ones(3)} | change
    if path.type != "cpu":
        arguments = {k: v.to(path) if isinstance(v, torch.Tensor) and not v.is_meta else v for k, v in arguments.items()}
    with pytest.raises(error, match=words) as raised:
        upfirdn2d(**arguments)
    assert "\n" not in str(raised.value)
