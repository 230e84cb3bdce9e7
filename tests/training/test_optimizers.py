"""Adam under lazy regularisation: constants of StyleGAN2's appendix B, and the argument for them."""

import pytest
import torch
from torch import nn

from sarigan.training.optimizers import lazy_adam
from sarigan.training.state import TrainingState


@pytest.mark.parametrize(("interval", "c"), [(None, 1.0), (4, 4 / 5), (16, 16 / 17), (1, 1 / 2)])
def test_constants(interval: int | None, c: float) -> None:
    adam = lazy_adam([nn.Parameter(torch.zeros(1))], 0.002, (0.5, 0.99), 1e-8, interval)
    (group,) = adam.param_groups
    assert group["lr"] == pytest.approx(0.002 * c)
    assert group["betas"] == pytest.approx((0.5**c, 0.99**c))
    assert group["eps"] == 1e-8
    assert lazy_adam([nn.Parameter(torch.zeros(1))], 0.002, (0.5, 0.99), 1e-15).param_groups[0]["eps"] == 1e-15


@pytest.mark.parametrize("k", [4, 16])
def test_k_plus_one_updates_in_k_steps_move_and_forget_as_k_plain_ones(k: int) -> None:
    """With a constant gradient Adam moves lr a step: (k+1) lr c = k lr. And v after them has forgotten the same."""

    def run(interval: int | None, steps: int) -> tuple[float, float]:
        parameter = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        adam = lazy_adam([parameter], 0.1, (0.0, 0.9), 0.0, interval)
        for _ in range(steps):
            parameter.grad = torch.full_like(parameter, 3.0)
            adam.step()
        return parameter.item(), adam.state[parameter]["exp_avg_sq"].item()

    lazy, plain = run(k, 5 * (k + 1)), run(None, 5 * k)
    assert lazy == pytest.approx(plain, rel=1e-12)
    assert plain[0] == pytest.approx(-0.1 * 5 * k, rel=1e-6)


def test_each_network_has_the_correction_of_its_own_regulariser(tiny_config, tiny_state) -> None:
    def rates(*overrides: str) -> list[tuple[float, float, float]]:
        intervals = ("objective.r1_interval=16", "objective.path_length_interval=4")
        state: TrainingState = tiny_state(tiny_config(*intervals, *overrides))
        optimizers = state.system.optimizers.values()
        return [(o.param_groups[0]["lr"], o.param_groups[0]["betas"][1], o.param_groups[0]["eps"]) for o in optimizers]

    generator, discriminator, grouping = rates()
    assert generator == pytest.approx((0.002 * 4 / 5, 0.99 ** (4 / 5), 1e-8))
    assert discriminator == pytest.approx((0.002 * 16 / 17, 0.99 ** (16 / 17), 1e-8))
    assert grouping == pytest.approx((0.002, 0.99, 1e-15))
    generator, discriminator, _ = rates("objective.r1_gamma=0", "objective.path_length_weight=0")
    assert generator == discriminator == pytest.approx((0.002, 0.99, 1e-8))


def test_every_parameter_has_exactly_one_optimiser(tiny_config, tiny_state) -> None:
    state: TrainingState = tiny_state(tiny_config())
    owned = [
        parameter
        for optimizer in state.system.optimizers.values()
        for group in optimizer.param_groups
        for parameter in group["params"]
    ]
    everything = [*state.system.generator.parameters(), *state.system.discriminator.parameters()]
    assert len(owned) == len(everything) and {id(p) for p in owned} == {id(p) for p in everything}


def test_epsilon_lets_tiny_gradients_of_the_mean_grouping_loss_through() -> None:
    """A gradient of 5e-8 (measured at 512 channels) is damped by 1e-8, not by 1e-15."""
    moves = []
    for epsilon in (1e-8, 1e-15):
        parameter = nn.Parameter(torch.zeros(1))
        adam = lazy_adam([parameter], 0.002, (0.0, 0.99), epsilon)
        parameter.grad = torch.full_like(parameter, 5e-9)
        adam.step()
        moves.append(-parameter.item())
    assert moves[0] < 0.0011 and moves[1] == pytest.approx(0.002, rel=1e-3)
