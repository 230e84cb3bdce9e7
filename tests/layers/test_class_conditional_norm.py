"""Class-conditional batch norm against a slow float64 loop; its statistics in training, at test and over ranks."""

import pytest
import torch
from torch import Tensor

from sarigan.layers.intervention import ChannelEdit
from sarigan.layers.modulation import class_conditional_norm
from sarigan.layers.modulation.class_conditional_norm import (
    AffineBatchNorm,
    BatchNorm,
    ClassConditionalNorm,
    average_running_statistics,
    batch_norms,
    collecting,
)
from sarigan.layers.spectral_norm import initialize_weights

N, C, H, W, D = 5, 3, 4, 2, 6


def example(spectral: bool = True) -> tuple[ClassConditionalNorm, Tensor, Tensor]:
    norm = ClassConditionalNorm(C, D, spectral).double()
    initialize_weights(norm, "normal")
    with torch.no_grad():
        for layer in (norm.gain, norm.bias):
            layer.weight.mul_(30)
    return norm, 3 * torch.randn(N, C, H, W, dtype=torch.float64) + 1, torch.randn(N, D, dtype=torch.float64)


def slow(norm: ClassConditionalNorm, x: Tensor, code: Tensor, spectral: bool) -> Tensor:
    """The definition, number by number; sigma from the singular value decomposition."""
    matrices = []
    for layer in (norm.gain, norm.bias):
        sigma = float(torch.linalg.svdvals(layer.weight.detach())[0]) if spectral else 1.0
        matrices.append((layer.weight / sigma).tolist())
    values, codes = x.tolist(), code.tolist()
    y = torch.empty_like(x)
    for c in range(C):
        every = [values[n][c][i][j] for n in range(N) for i in range(H) for j in range(W)]
        mean = sum(every) / len(every)
        variance = sum((value - mean) ** 2 for value in every) / len(every)
        for n in range(N):
            gain = 1 + sum(w * s for w, s in zip(matrices[0][c], codes[n], strict=True))
            bias = sum(w * s for w, s in zip(matrices[1][c], codes[n], strict=True))
            for i in range(H):
                for j in range(W):
                    y[n, c, i, j] = gain * (values[n][c][i][j] - mean) / (variance + 1e-5) ** 0.5 + bias
    return y


@pytest.mark.parametrize("spectral", [True, False])
def test_equals_the_slow_loop(spectral: bool) -> None:
    norm, x, code = example(spectral)
    initialized = [parameter.clone() for parameter in norm.parameters()]
    for layer in (norm.gain, norm.bias):
        for _ in range(300 if spectral else 0):
            layer.spectral.iterate(layer.weight)
    assert all(map(torch.equal, initialized, norm.parameters()))
    y, codes = norm(x, code)
    torch.testing.assert_close(y.detach(), slow(norm, x, code, spectral), rtol=1e-8, atol=1e-8)
    assert codes.z_scale.shape == codes.z_bias.shape == (N, C)


def test_edits_act_on_the_gain_of_a_channel() -> None:
    norm, x, code = example()
    plain, codes = norm(x, code)
    y, edited = norm(x, code, [ChannelEdit("8x8.up", 1, "scale", 3.0)])
    torch.testing.assert_close(edited.z_scale[:, 1], 3 * codes.z_scale[:, 1])
    assert torch.equal(y[:, [0, 2]], plain[:, [0, 2]]) and not torch.allclose(y[:, 1], plain[:, 1])


def test_running_statistics_follow_the_batches_and_test_statistics_do_not() -> None:
    norm, x = BatchNorm(C).double(), torch.randn(N, C, H, W, dtype=torch.float64) + 2
    mean, var = x.mean(dim=(0, 2, 3)), x.var(dim=(0, 2, 3))
    norm(x)
    torch.testing.assert_close(norm.running_mean, 0.1 * mean)
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * var)
    assert norm.test_mean.eq(0).all() and norm.test_var.eq(1).all()
    before = norm.running_mean.clone()
    x[0, 0, 0, 0] = torch.nan
    norm(x)
    assert torch.equal(norm.running_mean, before) and norm.running_var.isfinite().all()
    norm.eval()
    norm.test_mean.copy_(mean)
    norm.test_var.copy_(var)
    x = torch.randn(N, C, H, W, dtype=torch.float64)
    expected = (x - mean[:, None, None]) / (var[:, None, None] + 1e-5).sqrt()
    torch.testing.assert_close(norm(x), expected)
    torch.testing.assert_close(norm(x[2:3]), expected[2:3])
    assert torch.equal(norm.running_mean, before)


def test_collected_statistics_change_nothing_else() -> None:
    network = AffineBatchNorm(C).double().eval()
    x = torch.randn(N, C, H, W, dtype=torch.float64)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with collecting(network) as (norm,):
        network(x)
        network(x + 1)
        assert norm.collected is not None
        means = torch.stack([mean for mean, _ in norm.collected])
    torch.testing.assert_close(means, torch.stack([x.mean(dim=(0, 2, 3)), x.mean(dim=(0, 2, 3)) + 1]))
    assert not network.training and norm.collected is None
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_statistics_are_averaged_with_the_weights() -> None:
    source, average = AffineBatchNorm(C), AffineBatchNorm(C)
    source(torch.randn(N, C, H, W) + 3)
    (norm,), (mine,) = batch_norms(source), batch_norms(average)
    average_running_statistics(average, source, 0.75)
    torch.testing.assert_close(mine.running_mean, 0.25 * norm.running_mean)
    torch.testing.assert_close(mine.running_var, 0.75 + 0.25 * norm.running_var)


def test_bfloat16_features_are_normalised_in_full_precision() -> None:
    norm, _, _ = example()
    norm = norm.float()
    x = torch.randn(N, C, H, W) + 100  # bfloat16 has 8 bits: statistics in it would be off by parts of the deviation
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, codes = norm(x.bfloat16(), torch.randn(N, D))
    assert y.dtype == torch.bfloat16 and codes.z_scale.dtype == torch.float32
    exact = x.bfloat16().double()
    mean, var = exact.mean(dim=(0, 2, 3), keepdim=True), exact.var(dim=(0, 2, 3), unbiased=False, keepdim=True)
    expected = codes.z_scale[:, :, None, None] * (exact - mean) / (var + 1e-5).sqrt() + codes.z_bias[:, :, None, None]
    torch.testing.assert_close(y.double(), expected, rtol=0.01, atol=0.01)


def test_normalising_over_ranks_is_normalising_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one rank that says it is two, whose other rank has the same images: statistics of the images twice."""
    monkeypatch.setattr(class_conditional_norm.distributed, "world_size", lambda: 2)
    monkeypatch.setattr(class_conditional_norm.distributed, "sum_over_ranks", lambda tensor: 2 * tensor)
    norm, x = BatchNorm(C).double(), torch.randn(N, C, H, W, dtype=torch.float64, requires_grad=True)
    both = torch.cat([x, x]).detach().requires_grad_(True)
    y = norm(x)
    weight = torch.randn(N, C, H, W, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((weight * y).sum(), x)
    expected = torch.nn.functional.batch_norm(both, None, None, training=True, eps=1e-5)
    (other,) = torch.autograd.grad((torch.cat([weight, weight]) * expected).sum(), both)
    torch.testing.assert_close(y, expected[:N])
    torch.testing.assert_close(gradient, other[:N])
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * both.detach().var(dim=(0, 2, 3)))
