"""bias_act on every path against numpy in float64, and its derivatives against finite differences."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from ops import bias_act
from ops._extension import native_for

TOLERANCE = {torch.float64: 1e-13, torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}
GAINS = {"linear": 1.0, "relu": math.sqrt(2), "leaky_relu": math.sqrt(2)}


def margin(weight, x: torch.Tensor):
    """Rounding of a result whose terms add up to `weight`; the reference rounds the bias and after every step."""
    slack = 4 if native_for(x) is None else 1
    return slack * (TOLERANCE[x.dtype] * weight + torch.finfo(x.dtype).tiny * torch.finfo(x.dtype).eps)


def assert_same_gradients(found, expected, t: torch.Tensor) -> None:
    """Of x and of the bias, for gradients t of the output, up to the order of the sums over each channel."""
    eps = torch.finfo(t.dtype).eps
    torch.testing.assert_close(found[0], expected[0], rtol=4 * eps, atol=0)
    # n terms, each at most sqrt(2) |t|, off by up to n roundings of their sum of magnitudes in either order.
    others = [axis for axis in range(t.ndim) if axis != 1]
    num_terms = t.numel() // t.shape[1]
    assert bool(((found[1] - expected[1]).abs() <= 2 * num_terms * eps * 2**0.5 * t.abs().sum(dim=others)).all())


def definition(x, bias, activation, gain, clamp, slope):
    """y and dy/dx; no input lies near a kink."""
    v = x + bias.reshape(1, -1, *[1] * (x.ndim - 2))
    factor = np.where(v > 0, 1.0, {"linear": 1.0, "relu": 0.0, "leaky_relu": slope}[activation])
    gain = GAINS[activation] if gain is None else gain
    y, derivative = gain * factor * v, gain * factor
    return (y, derivative) if clamp is None else (np.clip(y, -clamp, clamp), derivative * (np.abs(y) < clamp))


@st.composite
def calls(draw):
    shape = draw(
        st.one_of(
            st.tuples(st.integers(0, 5), st.integers(1, 300)),
            st.tuples(st.integers(1, 3), st.integers(1, 20), st.integers(1, 50)),
            st.tuples(st.integers(0, 3), st.integers(1, 80), st.integers(1, 18), st.integers(1, 18)),
            st.tuples(st.just(1), st.integers(1, 3), st.sampled_from([130, 200]), st.just(131)),
            st.tuples(st.integers(1, 2), st.integers(1, 5), st.integers(1, 4), st.integers(1, 5), st.integers(1, 6)),
        )
    )
    return {
        "shape": shape,
        "dtype": draw(st.sampled_from(list(TOLERANCE))),
        "bias": draw(st.booleans()),
        "channels_last": draw(st.booleans()),
        "activation": draw(st.sampled_from(list(GAINS))),
        "gain": draw(st.sampled_from([None, 1.0, 0.5, -1.5])),
        "clamp": draw(st.sampled_from([None, None, 0.75, 1.3003])),
        "slope": draw(st.sampled_from([0.2, 0.0, 1.5])),
        "seed": draw(st.integers(0, 2**31)),
    }


@given(call=calls())
@settings(max_examples=80)
def test_equals_the_definition_forward_and_backward(path: torch.device, call: dict) -> None:
    shape, dtype = call["shape"], call["dtype"]
    generator = torch.Generator().manual_seed(call["seed"])
    # Steps of 1/32, exact in every type; kinks (v = 0, |y| = clamp) fall between the steps or are avoided below.
    x = torch.randint(-64, 64, shape, generator=generator).to(torch.float64) / 32
    bias = torch.randint(-16, 16, shape[1:2], generator=generator).to(torch.float64) / 32 * call["bias"] + 1 / 64
    truth, derivative = definition(x.numpy(), bias.numpy(), call["activation"], call["gain"], call["clamp"], call["slope"])
    layouts = {4: torch.channels_last, 5: torch.channels_last_3d}
    layout = layouts.get(len(shape), torch.contiguous_format) if call["channels_last"] else torch.contiguous_format
    leaf = x.to(path, dtype).clone(memory_format=layout).requires_grad_()
    leaf_bias = bias.to(path, torch.float32 if dtype.itemsize == 2 else dtype).requires_grad_()

    y = bias_act(leaf, leaf_bias, call["activation"], call["gain"], call["clamp"], call["slope"])
    assert y.dtype == dtype and y.shape == x.shape and y.device == leaf.device
    assert np.all(np.abs(y.detach().cpu().double().numpy() - truth) <= margin(np.abs(truth) + 4, leaf))
    assert y.is_contiguous(memory_format=layout) or y.numel() == 0

    t = torch.randint(-8, 9, shape, generator=generator).double() / 8
    if call["clamp"] is not None:  # where the clamp nearly acts, either side is right
        t *= torch.from_numpy(np.abs(np.abs(truth) - call["clamp"]) > 0.02) | (np.abs(truth) == call["clamp"])
    gradient, gradient_bias = torch.autograd.grad(y, (leaf, leaf_bias), t.to(path, dtype))
    expected = t.numpy() * derivative
    others = tuple(axis for axis in range(x.ndim) if axis != 1)
    assert gradient.dtype == dtype and gradient_bias.dtype == leaf_bias.dtype
    assert np.all(np.abs(gradient.cpu().double().numpy() - expected) <= margin(np.abs(expected), leaf))
    difference = np.abs(gradient_bias.cpu().double().numpy() - expected.sum(axis=others))
    assert np.all(difference <= margin(4 * np.abs(expected).sum(axis=others) + 1e-30, leaf))


@pytest.mark.parametrize("activation", list(GAINS))
@pytest.mark.parametrize("clamp", [None, 0.9])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 2, 3)])
def test_first_and_second_derivatives(path, activation, clamp, with_bias, shape) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(shape, generator=generator, dtype=torch.float64).to(path)
    x = x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x
    bias = torch.randn(shape[1], generator=generator, dtype=torch.float64).to(path)
    inputs = (x.requires_grad_(), bias.requires_grad_()) if with_bias else (x.requires_grad_(),)

    def call(x, bias=None):
        return bias_act(x, bias, activation, 0.8, clamp)

    assert torch.autograd.gradcheck(call, inputs, fast_mode=True)
    # It is piecewise linear: its square has a second derivative that is not zero.
    assert torch.autograd.gradgradcheck(lambda *inputs: call(*inputs) ** 2, inputs, fast_mode=True)


def test_third_derivative(path) -> None:
    """d^3/dx^3 of sum y^3 / 6 = m^3, with y = m x for x > 0 (and of the bias alike)."""
    x = torch.tensor([[0.5, 2.0], [1.0, -1.0]], dtype=torch.float64, device=path, requires_grad=True)
    y = bias_act(x, None, "leaky_relu", gain=1.5, negative_slope=0.5)
    (first,) = torch.autograd.grad((y**3 / 6).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x, create_graph=True)
    (third,) = torch.autograd.grad(second.sum(), x)
    torch.testing.assert_close(third, torch.tensor([[1.5**3, 1.5**3], [1.5**3, 0.75**3]], dtype=torch.float64, device=path))


def test_second_derivative_through_the_bias_alone(path) -> None:
    """x needs no gradient; the bias gradient is differentiated once more."""
    x = torch.tensor([[1.0, -3.0], [2.0, -1.0]], dtype=torch.float64, device=path)
    bias = torch.tensor([0.5, 0.25], dtype=torch.float64, device=path, requires_grad=True)
    y = bias_act(x, bias, "leaky_relu", gain=1.0, negative_slope=0.5)
    (first,) = torch.autograd.grad((y**2 / 2).sum(), bias, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), bias)
    torch.testing.assert_close(second, torch.tensor([2.0, 0.5], dtype=torch.float64, device=path))


def test_a_gradient_in_another_layout(path) -> None:
    x = torch.randn(2, 5, 4, 6, device=path, requires_grad=True)
    bias = torch.randn(5, device=path, requires_grad=True)
    t = torch.randn(2, 5, 4, 6, device=path)
    found = torch.autograd.grad(bias_act(x, bias), (x, bias), t.contiguous(memory_format=torch.channels_last))
    expected = torch.autograd.grad(bias_act(x, bias), (x, bias), t)
    assert_same_gradients(found, expected, t)
    ones = torch.ones((), device=path).expand(2, 5, 4, 6)
    expanded = torch.autograd.grad(bias_act(x, bias), (x, bias), ones)
    assert_same_gradients(expanded, torch.autograd.grad(bias_act(x, bias).sum(), (x, bias)), ones)


@pytest.mark.parametrize("make", ["slice", "expanded", "permuted", "offset", "one channel", "one pixel"])
def test_other_strides(path, make) -> None:
    base = torch.randn(2, 6, 10, 12, device=path)
    x = {
        "slice": base[:, ::2, 1:, ::3],
        "expanded": base[:, :1].expand(-1, 5, -1, -1),
        "permuted": base.permute(1, 0, 3, 2),
        "offset": base.flatten()[1 : 1 + 2 * 4 * 4 * 4].view(2, 4, 4, 4),
        "one channel": base[:, :1].contiguous(memory_format=torch.channels_last),
        "one pixel": base[:, :, :1, :1].contiguous(memory_format=torch.channels_last),
    }[make].requires_grad_()
    bias = torch.randn(x.shape[1], device=path, requires_grad=True)
    plain = x.detach().clone(memory_format=torch.contiguous_format).requires_grad_()
    t = torch.randn(x.shape, device=path)
    torch.testing.assert_close(bias_act(x, bias), bias_act(plain, bias))
    found = torch.autograd.grad(bias_act(x, bias), (x, bias), t)
    assert_same_gradients(found, torch.autograd.grad(bias_act(plain, bias), (plain, bias), t), t)


def test_infinite_and_undefined_values(path) -> None:
    x = torch.tensor([[math.inf, -math.inf, math.nan, -0.0]], device=path)
    torch.testing.assert_close(bias_act(x, None, "relu", gain=1.0), torch.relu(x), equal_nan=True)
    clamped = bias_act(x, None, "linear", clamp=2.0)
    torch.testing.assert_close(clamped, torch.tensor([[2.0, -2.0, math.nan, 0.0]], device=path), equal_nan=True)


def test_bounds_and_slopes_at_the_edge_of_the_type(path) -> None:
    """A clamp beyond float16 clamps nothing, and a slope of 0 makes 0 of minus infinity, on every path."""
    x = torch.tensor([[6e4, -6e4, -math.inf, 3.0]], device=path)
    found = bias_act(x.half(), None, "linear", clamp=1e30)
    torch.testing.assert_close(found, x.half())
    flat = bias_act(x, None, "leaky_relu", gain=1.0, negative_slope=0.0)
    torch.testing.assert_close(flat, torch.relu(x))


def test_the_storage_types_round_as_torch_does(path) -> None:
    """Every float16 and bfloat16 number, scaled: widened, multiplied in float32 and rounded to nearest even."""
    if native_for(torch.zeros(1, device=path)) is None:
        pytest.skip("the reference is torch itself")
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    for dtype in (torch.float16, torch.bfloat16):
        x = bits.view(dtype).reshape(1, -1).to(path)
        for gain in (1.0, 1 / 3, 1 / 1024, 37.5):
            expected = (x.float() * torch.tensor(gain, dtype=torch.float32)).to(dtype)
            torch.testing.assert_close(bias_act(x, None, "linear", gain), expected, rtol=0, atol=0, equal_nan=True)


def test_only_the_output_is_kept(path) -> None:
    if native_for(torch.zeros(1, device=path)) is None:
        pytest.skip("the reference keeps what autograd keeps")
    x, bias = torch.randn(2, 3, 4, 4, device=path), torch.randn(3, device=path, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        y = bias_act(x, bias)
        bias_act(x, bias, "linear")
    assert [t.data_ptr() for t in kept] == [y.data_ptr()]


def test_nested_function_transforms(path) -> None:
    """torch.func.grad of torch.func.grad of sum y^3: 6 m^2 y v."""
    x = torch.tensor([[0.5, -2.0, 1.0]], dtype=torch.float64, device=path)
    bias = torch.tensor([0.25, 0.5, -3.0], dtype=torch.float64, device=path)
    v = torch.tensor([[1.0, 2.0, -1.0]], dtype=torch.float64, device=path)

    def call(x, bias):
        return bias_act(x, bias, "leaky_relu", gain=2.0, negative_slope=0.5)

    def slope(x):
        return (torch.func.grad(lambda x: call(x, bias).pow(3).sum())(x) * v).sum()

    m = torch.tensor([[2.0, 1.0, 1.0]], dtype=torch.float64, device=path)
    torch.testing.assert_close(torch.func.grad(slope)(x), 6 * m**2 * call(x, bias) * v)
    found = torch.func.grad(lambda bias: torch.func.grad(lambda b: call(x, b).pow(3).sum())(bias).sum())(bias)
    torch.testing.assert_close(found, (6 * m**2 * call(x, bias)).sum(0))


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_mapped_over_a_batch(path) -> None:
    """torch.vmap and a Jacobian work too, if slowly."""
    x, bias = torch.randn(3, 2, 4, device=path), torch.randn(4, device=path)
    expected = torch.stack([bias_act(part, bias) for part in x])
    torch.testing.assert_close(torch.vmap(lambda part: bias_act(part, bias))(x), expected)
    jacobian = torch.func.jacrev(lambda b: bias_act(x[0], b).sum(0))(bias)
    assert torch.equal(jacobian, torch.diag(jacobian.diag())) and (jacobian.diag() != 0).all()


def test_autocast_keeps_the_type(path) -> None:
    x, bias = torch.randn(2, 3, 4, 4, device=path), torch.randn(3, device=path, requires_grad=True)
    with torch.autocast(path.type, torch.bfloat16):
        full, half = bias_act(x, bias), bias_act(x.bfloat16(), bias)
    assert full.dtype == torch.float32 and half.dtype == torch.bfloat16
    torch.testing.assert_close(full, bias_act(x, bias))
    half.float().sum().backward()
    assert bias.grad.dtype == torch.float32


def test_captured_whole_by_the_compiler(path) -> None:
    x, bias = torch.randn(2, 3, 4, 4, device=path, requires_grad=True), torch.randn(3, device=path, requires_grad=True)

    def call(x, bias):
        return bias_act(x, bias, clamp=1.0).square()

    compiled = torch.compile(call, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, bias), call(x, bias))
    found, expected = (torch.autograd.grad(f(x, bias).sum(), (x, bias)) for f in (compiled, call))
    assert_same_gradients(found, expected, 2 * torch.ones_like(x))  # |2 y| <= 2 after the clamp


def test_without_gradients_and_without_data(path) -> None:
    x, bias = torch.randn(2, 3, 4, 4, device=path), torch.randn(3, device=path, requires_grad=True)
    with torch.inference_mode():
        torch.testing.assert_close(bias_act(x, bias), bias_act(x, bias.detach()))
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        y = bias_act(mode.from_tensor(x), bias, clamp=1.0)
        assert y.shape == x.shape and y.device == x.device
        torch.autograd.grad(y.sum(), bias)


class Layer(torch.nn.Module):
    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.bias = torch.nn.Parameter(torch.linspace(-1, 1, 3, device=device))

    def forward(self, x):
        return bias_act(x, self.bias)


def test_copied_layer_is_independent(path) -> None:
    layer, x = Layer(path), torch.randn(2, 3, 4, 4, device=path)
    twin = copy.deepcopy(layer)
    twin(x).sum().backward()
    assert layer.bias.grad is None and twin.bias.grad is not None
    torch.testing.assert_close(twin(x), layer(x))


def test_distributed_data_parallel(path, tmp_path) -> None:
    backend = "nccl" if path.type == "cuda" else "gloo"
    torch.distributed.init_process_group(backend, init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        layer, x = Layer(path), torch.randn(2, 3, 4, 4, device=path)
        wrapped = torch.nn.parallel.DistributedDataParallel(copy.deepcopy(layer))
        wrapped(x).square().sum().backward()
        layer(x).square().sum().backward()
        torch.testing.assert_close(wrapped.module.bias.grad, layer.bias.grad)
    finally:
        torch.distributed.destroy_process_group()


def test_thread_count_does_not_matter(library) -> None:
    operators = library("cpu")
    bias, before, results = torch.randn(40), torch.get_num_threads(), []
    for layout in (torch.contiguous_format, torch.channels_last):
        x = torch.randn(3, 40, 65, 65).contiguous(memory_format=layout)
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            y = operators.bias_act(x, bias, 0.2, 1.5, 2.0)
            results.append((y, *operators.bias_act_derivative(x, None, y, 0.2, 1.5, 2.0, True)))
    torch.set_num_threads(before)
    for first, *others in (results[:3], results[3:]):
        for other in others:
            assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"activation": "swish"}, ValueError, "activation must be one of linear, relu, leaky_relu, got 'swish'"),
        ({"x": torch.zeros(3)}, ValueError, r"x must have at least two dimensions.*\(3,\)"),
        ({"x": torch.zeros(1, 3, dtype=torch.int64)}, TypeError, "x must be float16.*torch.int64"),
        ({"x": [[1.0]]}, TypeError, "x must be a tensor, got list"),
        ({"bias": torch.zeros(4)}, ValueError, r"bias must have shape \(3,\).*\(4,\)"),
        ({"bias": torch.zeros(3, 1)}, ValueError, r"bias must have shape \(3,\).*\(3, 1\)"),
        ({"bias": torch.zeros(3, dtype=torch.int32)}, TypeError, "bias must be float16.*torch.int32"),
        ({"bias": torch.zeros(3, device="meta")}, ValueError, r"bias must be on the device of x \(.*\), got meta"),
        ({"clamp": 0.0}, ValueError, "clamp must be positive or None, got 0.0"),
        ({"clamp": float("nan")}, ValueError, "clamp must be positive or None, got nan"),
        ({"clamp": {}}, TypeError, "clamp must be a number, got dict"),
        ({"gain": (1,)}, TypeError, "gain must be a number, got tuple"),
        ({"gain": float("inf")}, ValueError, "gain must be finite or None, got inf"),
        ({"negative_slope": -0.1}, ValueError, "negative_slope must not be negative, got -0.1"),
    ],
)
def test_bad_arguments(path, change, error, words) -> None:
    arguments = {"x": torch.zeros(2, 3, 4, 4), "bias": torch.zeros(3)} | change
    if path.type != "cpu":
        arguments = {k: v.to(path) if isinstance(v, torch.Tensor) and not v.is_meta else v for k, v in arguments.items()}
    with pytest.raises(error, match=words) as raised:
        bias_act(**arguments)
    assert "\n" not in str(raised.value)
