"""SPADE and its norms against slow arithmetic."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sarigan.layers.modulation.spade import NORMS, Spade, StatisticsEstimate, WeightlessNorm
from sarigan.layers.spectral_norm import SpectralConv2d, update_spectral_norms


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def features(n: int = 3, c: int = 4, h: int = 6, w: int = 10) -> Tensor:
    return torch.randn(n, c, h, w, dtype=torch.float64) * 3 + 1


def one_hot(labels: Tensor, count: int) -> Tensor:
    return F.one_hot(labels, count).permute(0, 3, 1, 2).double()


def plain(x: Tensor, kind: str) -> Tensor:
    """Channel by channel, in Python's floats where it counts."""
    out = x.clone()
    for c in range(x.shape[1]):
        groups = [x[:, c]] if kind in ("batch", "synchronised") else [x[n, c] for n in range(len(x))]
        made = [(g - g.mean()) / (((g - g.mean()) ** 2).mean() + 1e-5) ** 0.5 for g in groups]
        out[:, c] = made[0] if len(groups) == 1 and kind != "instance" else torch.stack(made).reshape(x[:, c].shape)
    return x if kind == "none" else out


@pytest.mark.parametrize("kind", NORMS)
def test_without_gamma_and_beta_it_is_the_plain_norm(kind: str) -> None:
    spade = Spade(4, 5, kind, hidden=7).double()
    for conv in (spade.gamma, spade.beta):
        torch.nn.init.zeros_(conv.weight)
        torch.nn.init.zeros_(conv.bias)
    x = features()
    layout = one_hot(torch.randint(5, (3, 6, 10)), 5)
    assert torch.allclose(spade(x, layout), plain(x, kind), atol=1e-12)


@pytest.mark.parametrize("kind", ["batch", "instance"])
def test_a_constant_layout_is_a_conditional_norm_in_the_interior(kind: str) -> None:
    """One gain and one bias a class and channel, two pixels from the border on: two 3x3 convolutions see no further."""
    spade = Spade(4, 5, kind, hidden=7).double()
    x, labels = features(), torch.tensor([2, 0, 4])
    found = spade(x, one_hot(labels[:, None, None].expand(3, 6, 10), 5))[:, :, 2:-2, 2:-2]
    for n, label in enumerate(labels):
        hidden = F.relu(spade.shared.weight.sum(dim=(2, 3))[:, label] + spade.shared.bias)
        gain = 1 + spade.gamma.weight.sum(dim=(2, 3)) @ hidden + spade.gamma.bias
        bias = spade.beta.weight.sum(dim=(2, 3)) @ hidden + spade.beta.bias
        wanted = plain(x, kind)[n] * gain[:, None, None] + bias[:, None, None]
        assert torch.allclose(found[n], wanted[:, 2:-2, 2:-2], atol=1e-12)


def test_permuted_labels_with_permuted_weights() -> None:
    spade = Spade(4, 5, "batch", hidden=7).double()
    x, labels, order = features(), torch.randint(5, (3, 6, 10)), torch.randperm(5)
    before = spade(x, one_hot(labels, 5))
    with torch.no_grad():
        spade.shared.weight[:, order] = spade.shared.weight.clone()
    assert torch.allclose(spade(x, one_hot(order[labels], 5)), before, atol=1e-12)
    assert not torch.allclose(spade(x, one_hot(labels, 5)), before, atol=1e-3)


def test_evaluation_uses_statistics_that_were_measured() -> None:
    norm = WeightlessNorm(4, "batch").double().eval()
    x, y = features(), features() * 2 - 3
    assert torch.allclose(norm(x), x / (1 + 1e-5) ** 0.5)  # nothing was measured yet
    with StatisticsEstimate(norm):
        assert torch.allclose(norm(x), plain(x, "batch"), atol=1e-12)  # as in training
        norm(y)
    mean = (x.mean(dim=(0, 2, 3)) + y.mean(dim=(0, 2, 3))) / 2
    variance = (x.var(dim=(0, 2, 3)) + y.var(dim=(0, 2, 3))) / 2
    assert torch.allclose(norm.mean, mean) and torch.allclose(norm.variance, variance)
    wanted = (x - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()
    assert torch.allclose(norm(x), wanted) and norm.estimates is None
    reference = torch.nn.BatchNorm2d(4, affine=False, momentum=None).double()
    reference(x), reference(y)
    assert torch.allclose(reference.running_var, norm.variance) and torch.allclose(reference.eval()(x), norm(x))


def test_a_training_pass_stores_nothing() -> None:
    norm = WeightlessNorm(4, "batch").double()
    norm(features())
    assert torch.equal(norm.mean, torch.zeros(4).double()) and torch.equal(norm.variance, torch.ones(4).double())


def test_a_spectral_convolution_with_a_stride() -> None:
    conv = SpectralConv2d(5, 6, 4, bias=False, stride=2, padding=2).double()
    torch.nn.init.normal_(conv.weight)
    update_spectral_norms(conv, 300)
    largest = torch.linalg.svdvals(conv.weight.flatten(start_dim=1))[0]
    x = torch.randn(2, 5, 9, 12, dtype=torch.float64)
    assert torch.allclose(conv(x), F.conv2d(x, conv.weight / largest, stride=2, padding=2), atol=1e-6)
    assert SpectralConv2d(5, 6, 3)(torch.zeros(1, 5, 9, 12)).shape == (1, 6, 9, 12)
