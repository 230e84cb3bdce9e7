"""The closed form against integration and Monte Carlo, its split, and what it says of channels that are known."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from toy_channels import ToyChannels

from sarigan.analysis.channel_awareness import (
    agreement,
    closed_form_awareness,
    expected_relu,
    measured_awareness,
    style_awareness,
    variance_split,
)
from sarigan.errors import InputError
from sarigan.layers.grouping import GroupingConfig
from sarigan.models.generator import Generator, GeneratorConfig

NAMES = ["a", "b", "c"]


@pytest.mark.parametrize("beta", [-6.0, -1.3, 0.0, 0.7, 5.0])
@pytest.mark.parametrize("gamma", [0.01, -0.8, 3.0])
def test_closed_form_against_integration(beta: float, gamma: float) -> None:
    density = stats.norm(beta, abs(gamma)).pdf
    upper = max(beta, 0) + 40 * abs(gamma)
    peak = sorted({min(max(beta + k * abs(gamma), 0), upper) for k in (-8, -2, 0, 2, 8)})
    expected, _ = integrate.quad(lambda y: y * density(y), 0, upper, points=peak, epsabs=1e-14, limit=200)
    found = expected_relu(torch.tensor(beta, dtype=torch.float64), torch.tensor(gamma, dtype=torch.float64))
    assert float(found) == pytest.approx(expected, rel=1e-9, abs=1e-13)


def test_closed_form_against_monte_carlo() -> None:
    random = np.random.default_rng(0)
    beta, gamma = random.standard_normal(20), random.standard_normal(20)
    drawn = np.maximum(beta + gamma * random.standard_normal((200_000, 20)), 0)
    error = drawn.std(axis=0) / math.sqrt(len(drawn))
    found = expected_relu(torch.from_numpy(beta), torch.from_numpy(gamma)).numpy()
    assert (np.abs(found - drawn.mean(axis=0)) < 5 * error + 1e-6).all()  # 1e-6: no sample of a rare channel may be positive


def test_closed_form_at_its_limits() -> None:
    beta, zero = torch.tensor([-2.0, 0.0, 3.0]), torch.zeros(3)
    assert expected_relu(beta, zero).tolist() == [0.0, 0.0, 3.0]
    assert torch.equal(expected_relu(beta, torch.ones(3)), expected_relu(beta, -torch.ones(3)))
    assert float(expected_relu(torch.tensor(-100.0), torch.tensor(1.0))) == 0.0
    assert float(expected_relu(torch.tensor(1e6), torch.tensor(1e-3))) == pytest.approx(1e6)


def test_split_is_a_two_way_analysis_of_variance() -> None:
    table = torch.from_numpy(np.random.default_rng(1).standard_normal((3, 5, 4)))
    split = variance_split(table)
    for channel in range(4):
        values = table[:, :, channel].numpy()
        mean = values.mean()
        by_class = sum((row.mean() - mean) ** 2 * 5 for row in values)
        by_latent = sum((column.mean() - mean) ** 2 * 3 for column in values.T)
        rest = sum((values[i, j] - values[i].mean() - values[:, j].mean() + mean) ** 2 for i in range(3) for j in range(5))
        total = ((values - mean) ** 2).sum()
        shares = (split.by_class[channel], split.by_latent[channel], split.by_both[channel])
        assert [float(share) for share in shares] == pytest.approx([by_class / total, by_latent / total, rest / total])
    assert sum(split.layer_shares().values()) == pytest.approx(1)
    assert float(variance_split(torch.ones(2, 2, 1)).by_class) == 0


def test_known_channels() -> None:
    model = ToyChannels()
    tables = closed_form_awareness(model, range(12))
    assert {name: tuple(table.shape) for name, table in tables.items()} == {"first": (3, 12, 8), "second": (3, 12, 6)}
    split = variance_split(tables["second"])
    assert split.by_class[:3].min() > 0.999 and split.by_latent[3] > 0.999
    assert split.total[4] < 1e-20 and float(tables["second"][:, :, 5].max()) == 0
    means = tables["second"].mean(dim=1)
    assert [int(row[:3].argmax()) for row in means] == [0, 1, 2]
    measured = measured_awareness(model, range(12), batch_size=5)
    for name in tables:
        found = agreement(tables[name].mean(dim=1), measured[name].mean(dim=1))
        assert found.pearson > 0.99 and found.pearson_within_channels > 0.99 and found.ratio == pytest.approx(1, abs=0.03)
    _, features = model.generate(model.latents([7]), torch.tensor([2]))
    assert float(measured["second"][2, 7, 2]) == pytest.approx(float(features["second"][0, 2].mean()))


def test_agreement_tells_classes_from_channels() -> None:
    """Channels that differ alike in both tables hide that the classes differ in opposite ways."""
    channels, classes = torch.arange(6.0) * 10, torch.randn(3, 6)
    found = agreement(channels + classes, channels - classes)
    assert found.pearson > 0.9 and found.pearson_within_channels == pytest.approx(-1)
    assert math.isnan(agreement(torch.ones(2, 3), torch.randn(2, 3)).pearson)


def style_generator(**changes: object) -> Generator:
    settings: dict = {"resolution": 16, "class_names": NAMES, "class_shares": [0.2, 0.3, 0.5], **changes}
    return Generator(GeneratorConfig(z_dim=4, style_dim=4, mapping_layers=2, channel_base=64, channel_max=8, **settings)).eval()


def test_analogue_of_style_generators() -> None:
    """Energy shares of groups, squared modulation of channels, from the codes of the images themselves."""
    for grouping in (GroupingConfig(num_groups=3), GroupingConfig(kind="none")):
        generator = style_generator(grouping=grouping)
        tables = style_awareness(generator, [4, 9])
        z = torch.stack([torch.randn(4, generator=torch.Generator().manual_seed(seed)) for seed in (4, 9)])
        for label in range(3):
            latents = generator.latents(z, labels=torch.full((2,), label))
            if grouping.kind == "none":
                expected = {
                    name: layer.style(latents[:, i]).z_scale.double().square()
                    for i, (name, layer) in enumerate(generator.synthesis.named_layers())  # type: ignore[union-attr]
                }
            else:
                codes = generator.synthesize(latents, "none").codes
                expected = {}
                for name, code in codes.items():
                    assert code.h_scale is not None and code.membership is not None
                    power = code.h_scale.double().square() * (code.membership.sum(dim=0) > 0)
                    expected[name] = power / power.sum(dim=1, keepdim=True)
            assert [*tables] == [*expected]
            for name, rows in expected.items():
                torch.testing.assert_close(tables[name][label], rows.detach(), rtol=1e-5, atol=1e-7)


def test_truncation_acts_on_style_generators() -> None:
    """psi 0: all latents are the centre, whatever the class."""
    generator = style_generator(grouping=GroupingConfig(kind="none"))
    generator.update_mean_latent(100)
    for name, table in style_awareness(generator, [4, 9], truncation_psi=0).items():
        torch.testing.assert_close(table, table[:1, :1].expand_as(table), msg=name)
    assert all(float(table.std()) > 0 for table in style_awareness(generator, [4, 9], truncation_psi=0.5).values())


def test_what_has_no_awareness_is_one_line() -> None:
    with pytest.raises(InputError, match="trained without classes"):
        style_awareness(style_generator(class_names=[], class_shares=[], grouping=GroupingConfig(kind="none")), [0])
    with pytest.raises(InputError, match="no modulated convolutions"):
        style_awareness(style_generator(synthesis="adain", grouping=GroupingConfig(kind="none")), [0])
