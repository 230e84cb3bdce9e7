"""Eq. 3-4 (Group AdaIN, then AdaGN, on features) against Eq. 5-6 (folded into weights): exact, and as a statistical law."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sarigan.layers.conv import EqualizedConv2d
from sarigan.layers.modulation.demodulation import channel_affine
from sarigan.layers.modulation.forms import ActivationModulation, WeightModulation
from sarigan.layers.modulation.group_adagn import group_adagn
from sarigan.layers.modulation.group_adain import group_adain
from sarigan.layers.normalization import instance_norm
from sarigan.layers.style import StyleCodes

N, CHANNELS, OUT, SIZE = 2, 12, 5, 9
GROUP_OF = [0, 1, 2, 0, 1, 2, 2, 2, 1, 0, 0, 4]  # group 3 is empty
GROUPS = 5


def codes(biases: bool) -> StyleCodes:
    membership = F.one_hot(torch.tensor(GROUP_OF), GROUPS).double()
    draw = lambda size: torch.randn(N, size, dtype=torch.float64)  # noqa: E731
    return StyleCodes(
        draw(CHANNELS), draw(GROUPS), draw(CHANNELS) if biases else None, draw(GROUPS) if biases else None, membership
    )


def literal_equations_3_and_4(x: Tensor, c: StyleCodes) -> Tensor:
    """X'_i and X''_i as the paper writes them, one sample and one group at a time; X''_i kept to its own channels."""
    result = torch.zeros_like(x)
    for n in range(N):
        for i in range(GROUPS):
            members = [j for j, group in enumerate(GROUP_OF) if group == i]
            if not members:
                continue
            group = torch.zeros(x.shape[1:], dtype=x.dtype)
            for j in members:
                channel = x[n, j]
                deviation = (channel - channel.mean()).square().mean().sqrt()
                group[j] = c.z_scale[n, j] * (channel - channel.mean()) / deviation
                if c.z_bias is not None:
                    group[j] += c.z_bias[n, j]
            # Over all c*HW entries, the zeros of other channels included.
            mean = group.sum() / group.numel()
            deviation = (group - mean).square().mean().sqrt()
            for j in members:
                result[n, j] = c.h_scale[n, i] * (group[j] - mean) / deviation
                if c.h_bias is not None:
                    result[n, j] += c.h_bias[n, i]
    return result


@pytest.mark.parametrize("biases", [False, True])
def test_group_adain_and_adagn_are_the_papers_equations(biases: bool) -> None:
    torch.manual_seed(0)
    c = codes(biases)
    x = torch.randn(N, CHANNELS, SIZE, SIZE, dtype=torch.float64) * 3 + 1
    found = group_adagn(group_adain(x, c.z_scale, c.z_bias, 0.0), c.membership, c.h_scale, c.h_bias, 0.0)
    torch.testing.assert_close(found, literal_equations_3_and_4(x, c), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("biases", [False, True])
def test_adagn_is_equation_5_on_normalised_features(biases: bool) -> None:
    """X'' = diag(f) IN(X), plus the offset where codes have biases."""
    torch.manual_seed(1)
    c = codes(biases)
    x = torch.randn(N, CHANNELS, SIZE, SIZE, dtype=torch.float64) * 3 + 1
    scale, offset = channel_affine(c, epsilon=0.0)
    expected = instance_norm(x, 0.0) * scale[:, :, None, None]
    if biases:
        assert offset is not None
        expected = expected + offset[:, :, None, None]
    else:
        assert offset is None
    torch.testing.assert_close(literal_equations_3_and_4(x, c), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("biases", [False, True])
def test_activation_form_is_the_weight_form_on_normalised_features(biases: bool, up: bool) -> None:
    """conv(X'') d_o = weight form (X-hat): everywhere without biases, away from zero padding with them."""
    torch.manual_seed(2)
    c = codes(biases)
    convolution = EqualizedConv2d(CHANNELS, OUT, 3, up=up).double()
    x = torch.randn(N, CHANNELS, SIZE, SIZE, dtype=torch.float64) * 3 + 1
    activation_form = ActivationModulation(epsilon=0.0)(x, c, convolution)
    weight_form = WeightModulation(epsilon=0.0)(instance_norm(x, 0.0), c, convolution)
    scale, _ = channel_affine(c, epsilon=0.0)
    weight = (convolution.weight * convolution.scale)[None] * scale[:, None, :, None, None]
    demodulation = weight.square().sum(dim=(2, 3, 4)).rsqrt()
    expected = activation_form * demodulation[:, :, None, None]
    if biases:
        # The filter [1,3,3,1] weighs even and odd pixels alike, so a constant image stays constant through an up-convolution.
        inside = (slice(None), slice(None), slice(2, -2), slice(2, -2))
        torch.testing.assert_close(weight_form[inside], expected[inside], rtol=1e-12, atol=1e-12)
        assert (weight_form - expected).abs().max() > 1e-3  # the zero-padded border does differ
    else:
        torch.testing.assert_close(weight_form, expected, rtol=1e-12, atol=1e-12)


def circular_convolution(x: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="circular"), weight)


def test_weight_form_approximates_normalisation_as_one_over_sqrt_of_pixels() -> None:
    """Eq. 6 assumes normal features: IN(conv(diag(f) IN(X))) and conv_{w''}(X) differ by 1.4/sqrt(HW), relative RMS."""
    torch.manual_seed(0)
    channels, out, groups, batch = 64, 32, 8, 8
    membership = F.one_hot(torch.arange(channels) % groups, groups).double()
    c = StyleCodes(
        torch.randn(batch, channels, dtype=torch.float64), torch.randn(batch, groups, dtype=torch.float64),
        membership=membership,
    )  # fmt: skip
    weight = torch.randn(out, channels, 3, 3, dtype=torch.float64)
    scale, _ = channel_affine(c, epsilon=0.0)
    f = scale[:, :, None, None]
    demodulation = (weight[None] * scale[:, None, :, None, None]).square().sum(dim=(2, 3, 4)).rsqrt()
    sizes, errors = (16, 32, 64), []
    for size in sizes:
        x = torch.randn(batch, channels, size, size, dtype=torch.float64)
        activation_form = instance_norm(circular_convolution(f * instance_norm(x, 0.0), weight), 0.0)
        weight_form = circular_convolution(f * x, weight) * demodulation[:, :, None, None]
        errors.append(float((activation_form - weight_form).square().mean().sqrt() / weight_form.square().mean().sqrt()))
        assert 1.2 / size < errors[-1] < 1.6 / size
    slope = (math.log(errors[2]) - math.log(errors[0])) / (math.log(sizes[2] ** 2) - math.log(sizes[0] ** 2))
    assert abs(slope + 0.5) < 0.05


@pytest.mark.parametrize("biases", [False, True])
def test_epsilon_is_added_to_the_variance(biases: bool) -> None:
    """Of every channel in Eq. 3, of every group in Eq. 4: constant features are divided by its root, not by nothing."""
    torch.manual_seed(4)
    c, epsilon = codes(biases), 0.3
    x = torch.randn(N, CHANNELS, SIZE, SIZE, dtype=torch.float64)
    x[:, 5] = 7.0
    normal = group_adain(x, c.z_scale, c.z_bias, epsilon)
    found = group_adagn(normal, c.membership, c.h_scale, c.h_bias, epsilon)
    deviation = (x.var(dim=(2, 3), unbiased=False, keepdim=True) + epsilon).sqrt()
    expected = c.z_scale[:, :, None, None] * (x - x.mean(dim=(2, 3), keepdim=True)) / deviation
    expected = expected if c.z_bias is None else expected + c.z_bias[:, :, None, None]
    torch.testing.assert_close(normal, expected)
    for n in range(N):
        for j, i in enumerate(GROUP_OF):
            group = normal[n] * torch.tensor([float(other == i) for other in GROUP_OF])[:, None, None]
            value = c.h_scale[n, i] * (normal[n, j] - group.mean()) / (group.var(unbiased=False) + epsilon).sqrt()
            torch.testing.assert_close(found[n, j], value if c.h_bias is None else value + c.h_bias[n, i])


def test_features_of_float16_are_those_of_float32_within_its_range() -> None:
    """Where they lie within +-256 they are the same; beyond they are held there, so that no sum over channels overflows."""
    torch.manual_seed(5)
    c = codes(False)
    c = StyleCodes(c.z_scale.float(), c.h_scale.float(), membership=c.membership.float())
    convolution = EqualizedConv2d(CHANNELS, OUT, 1)
    x = torch.randn(N, CHANNELS, SIZE, SIZE).half()
    for factor in (1.0, 1e4):
        strong = StyleCodes(c.z_scale, factor * c.h_scale, membership=c.membership)
        features = group_adagn(group_adain(x.float(), strong.z_scale, None), strong.membership, strong.h_scale, None)
        assert (features.abs().max() > 256) == (factor > 1)
        features = features.clamp(-256, 256)
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.float16):
            found = ActivationModulation()(x, strong, convolution)
        assert found.dtype == torch.float16
        # Of every product both factors, of every sum of 12 products each step is rounded to 11 bits.
        weight = convolution.weight.detach() * convolution.scale
        bound = (2 + CHANNELS) * 2.0**-11 * F.conv2d(features.abs(), weight.abs())
        assert ((found.float() - F.conv2d(features, weight)).abs() <= bound).all()


def test_gradient_is_finite_with_an_empty_group_and_no_epsilon() -> None:
    torch.manual_seed(3)
    c = codes(biases=True)
    for tensor in (c.z_scale, c.h_scale, c.z_bias, c.h_bias):
        tensor.requires_grad_(True)
    x = torch.randn(N, CHANNELS, SIZE, SIZE, dtype=torch.float64, requires_grad=True)
    y = ActivationModulation(epsilon=0.0)(x, c, EqualizedConv2d(CHANNELS, OUT, 3).double())
    gradients = torch.autograd.grad(y.square().sum(), [x, c.z_scale, c.h_scale, c.z_bias, c.h_bias])
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)
    assert (gradients[2][:, 3] == 0).all() and (gradients[4][:, 3] == 0).all()  # of the empty group
