"""Groups by feature maps: running correlation and loss against slow loops, planted channels, what a step observes, resuming."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from stopped_runs import whole_and_resumed

from sarigan.editing.rendering import record_layer_inputs
from sarigan.errors import InputError
from sarigan.layers.feature_correlation import feature_correlation, feature_moments
from sarigan.layers.grouping import ActivationGrouping, GroupingConfig, build_grouping

Build = Callable[..., Any]
KIND = "generator.grouping.kind=activation"


def grouping(channels: int, groups: int, **options: Any) -> ActivationGrouping:
    found = build_grouping(GroupingConfig(kind="activation", num_groups=groups, **options), channels, "8x8.conv")
    assert isinstance(found, ActivationGrouping)
    return found


def features(channels: int, seed: int = 0) -> torch.Tensor:
    """[3,c,4,5] with correlated channels of unlike means and sizes, the last of them constant."""
    source = torch.Generator().manual_seed(seed)
    mixed = torch.einsum("ij,njhw->nihw", torch.randn(channels, channels, generator=source), torch.randn(3, channels, 4, 5))
    mixed = mixed * torch.linspace(0.1, 3, channels)[:, None, None] + torch.linspace(-2, 2, channels)[:, None, None]
    mixed[:, -1] = 1.5
    return mixed


def test_moments_add_up_to_numpys_correlation() -> None:
    torch.manual_seed(0)
    batches = [features(6, seed).double() for seed in range(3)]
    found = feature_correlation(sum(feature_moments(x) for x in batches))
    rows = np.concatenate([x.transpose(0, 1).flatten(start_dim=1).numpy() for x in batches], axis=1)
    np.testing.assert_allclose(found[:5, :5], np.corrcoef(rows[:5]), atol=1e-10)
    assert not found[5].any() and not found[:, 5].any()  # the constant one
    single = feature_correlation(sum(feature_moments(x.float()) for x in batches))
    torch.testing.assert_close(single[:5, :5].double(), found[:5, :5], rtol=0, atol=1e-5)


def test_running_correlation_and_loss_are_those_of_a_slow_loop() -> None:
    """Weights decay^k of the updates, a quantile of all c*c entries, (P P^T - H)^2: in float64, entry by entry."""
    torch.manual_seed(1)
    found = grouping(6, 3, activation_decay=0.7).double()
    batches = [features(6, seed).double() for seed in range(4)]
    for x in batches:
        found.observe(feature_moments(x))
    weights = [0.3 * 0.7 ** (3 - k) for k in range(4)]
    mean = [[0.0] * 6 for _ in range(7)]  # of products, and in the last row of the channels themselves
    for weight, x in zip(weights, batches, strict=True):
        rows = x.transpose(0, 1).flatten(start_dim=1)
        for i in range(6):
            mean[6][i] += weight / sum(weights) * float(rows[i].mean())
            for j in range(6):
                mean[i][j] += weight / sum(weights) * float((rows[i] * rows[j]).mean())
    covariance = [[mean[i][j] - mean[6][i] * mean[6][j] for j in range(6)] for i in range(6)]
    expected = torch.zeros(6, 6, dtype=torch.float64)
    for i in range(5):
        for j in range(5):
            expected[i, j] = covariance[i][j] / (covariance[i][i] * covariance[j][j]) ** 0.5
    similarity = found.similarity(torch.zeros(0))
    torch.testing.assert_close(similarity, expected, rtol=0, atol=1e-9)
    threshold = sorted(similarity.flatten().tolist())[36 - 12]  # 36/3 entries reach it
    p = torch.softmax(found.logits / found.temperature(), dim=1).detach()
    error = 0.0
    for i in range(6):
        for j in range(6):
            error += (float(p[i] @ p[j]) - (1.0 if similarity[i, j] >= threshold else 0.0)) ** 2
    kernel = torch.randn(6, 20, dtype=torch.float64, requires_grad=True)
    loss = found.loss(kernel)
    assert float(loss.similarity.detach()) == pytest.approx(error / 36, abs=1e-9)
    loss.similarity.backward()
    assert kernel.grad is None and found.logits.grad is not None and bool(found.logits.grad.any())
    assert not found.moments.requires_grad


def test_channels_that_respond_alike_are_found_whatever_their_kernels() -> None:
    torch.manual_seed(2)
    labels = torch.arange(24) % 4
    signals = torch.randn(64, 4, 8, 8)
    found = grouping(24, 4)
    found.observe(feature_moments(signals[:, labels] + torch.randn(64, 24, 8, 8)))
    adam = torch.optim.Adam(found.parameters(), lr=0.03, eps=1e-15)
    for _ in range(400):
        found.loss(torch.randn(24, 30)).similarity.backward()
        adam.step()
        adam.zero_grad()
    member = found.membership()
    assert all(len(labels[member[:, i] > 0].unique()) == 1 for i in range(4)) and bool(member.any(dim=0).all())


def test_what_is_not_finite_is_not_stored() -> None:
    found = grouping(4, 2)
    found.observe(feature_moments(torch.randn(2, 4, 4, 4)))
    before = found.moments.clone()
    found.observe(feature_moments(torch.full((2, 4, 4, 4), torch.nan)))
    found.observe(feature_moments(torch.full((2, 4, 4, 4), 1e30)))
    assert torch.equal(found.moments, before)
    assert not grouping(4, 2).similarity(torch.zeros(0)).any()  # before the first


def test_bad_settings_are_refused(tiny_config: Build) -> None:
    for decay in (1.0, -0.1):
        with pytest.raises(InputError, match=rf"activation_decay must be in \[0, 1\), got {decay}"):
            GroupingConfig(kind="activation", activation_decay=decay)
    with pytest.raises(InputError, match="kind=activation sees features of latents alone, and inpainting has none"):
        tiny_config("system=inpainting", KIND)


@pytest.mark.parametrize("rounds", [1, 2])
def test_a_step_observes_images_of_its_own(tiny_config: Build, tiny_trainer: Build, rounds: int) -> None:
    """All images of the batch, however it is cut, by the generator as it is before the step; also in the average's buffers."""
    trainer = tiny_trainer(tiny_config(KIND, "training.total_kimg=0.008", f"training.accumulation_rounds={rounds}"))
    system = trainer.system
    draws = system.randomness.draw("features", 0, 8)
    names = [layer.name for layer in system.generator.grouped_layers()]
    with torch.no_grad(), record_layer_inputs(system.generator, names) as inputs:
        system.generator(draws.z, mixing=draws.mixing, noise=draws.noise)
    expected = {name: feature_moments(x.double()) / (x.numel() / x.shape[1]) for name, x in inputs.items()}
    trainer.run()
    for network in (system.generator, system.average.module):
        for layer in network.grouped_layers():
            torch.testing.assert_close(layer.grouping.moments.double() / 0.01, expected[layer.name], rtol=1e-3, atol=1e-3)


def test_nothing_is_observed_when_no_group_learns(tiny_config: Build, tiny_trainer: Build) -> None:
    """In steps between two updates, after `freeze_kimg`, and for kinds that see kernels."""
    trainer = tiny_trainer(tiny_config(KIND, "objective.grouping_interval=2", "generator.grouping.freeze_kimg=0.016"))
    seen = []
    trainer.system.observation.randomness = _Watched(trainer.system.randomness, seen)
    for step in range(5):
        trainer.system.begin_step(step * trainer.batch_size / 1000)
    assert seen == [0]
    assert not tiny_trainer(tiny_config()).system.observation.groupings


class _Watched:
    """Notes for which steps features are drawn."""

    def __init__(self, randomness: Any, steps: list[int]) -> None:
        self.randomness, self.steps = randomness, steps

    def draw(self, phase: str, step: int, batch_size: int) -> Any:
        self.steps.append(step)
        return self.randomness.draw(phase, step, batch_size)


def test_a_run_goes_on_with_the_same_bits(tiny_config: Build, tiny_trainer: Build, tiny_state: Build) -> None:
    whole, rest = whole_and_resumed(tiny_config, tiny_trainer, tiny_state, KIND)
    for name, module in whole.system.modules().items():
        other = rest.system.modules()[name].state_dict()
        assert all(torch.equal(tensor, other[key]) for key, tensor in module.state_dict().items()), name
    layer = rest.system.generator.grouped_layers()[0]
    assert float(layer.grouping.moments[-1, -1]) == pytest.approx(1 - 0.99**6, rel=1e-4)
    assert rest.system.log_values({})[f"groups/{layer.name}/threshold"] > 0
