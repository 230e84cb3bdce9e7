"""Generators and critics of a scale: parameters, receptive field, padding, the chain."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sarigan.data.picture import resized
from sarigan.errors import InputError
from sarigan.systems.single_image.draws import noise_maps
from sarigan.systems.single_image.generator import (
    Critic,
    PyramidGenerator,
    ScaleGenerator,
    ScaleNetworkConfig,
    evaluating,
)
from sarigan.systems.system import count_parameters


@pytest.mark.parametrize(("level", "generator", "critic"), [(0, 29_763, 29_185), (3, 29_763, 29_185), (4, 114_819, 113_665),
                                                            (8, 450_819, 448_513), (12, 450_819, 448_513)])  # fmt: skip
def test_parameter_counts(level: int, generator: int, critic: int) -> None:
    config = ScaleNetworkConfig()
    assert count_parameters(ScaleGenerator(config, level)) == generator
    assert count_parameters(Critic(config, level)) == critic


def smooth(network: nn.Module) -> nn.Module:
    """Every weight positive, so that no path through the network cancels."""
    for parameter in network.parameters():
        parameter.data.abs_().add_(0.01)
    return network.double().eval()


def test_the_receptive_field_is_11() -> None:
    """The gradient of one output reaches an 11x11 square of the input, all of it and nothing else."""
    image = torch.rand(1, 3, 31, 31, dtype=torch.float64, requires_grad=True)
    scores = smooth(Critic(ScaleNetworkConfig(channels=2), 0))(image)
    assert scores.shape == (1, 1, 21, 21)
    (gradient,) = torch.autograd.grad(scores[0, 0, 10, 10], image)
    rows, columns = (gradient[0, 0] != 0).nonzero(as_tuple=True)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (10, 20, 10, 20)
    assert (gradient[0, :, 10:21, 10:21] != 0).all()


def pyramid(padding: str = "zero", **settings: object) -> PyramidGenerator:
    config = ScaleNetworkConfig(channels=4, padding=padding, **settings)  # type: ignore[arg-type]
    sizes = [(12, 16), (18, 24), (24, 32)]
    network = PyramidGenerator(config, sizes, torch.rand(1, 3, 24, 32) * 2 - 1).double()
    network.num_begun.fill_(3)
    network.amplitudes.copy_(torch.tensor([1.0, 0.3, 0.2]))
    return network


def test_a_scale_adds_to_the_enlarged_image() -> None:
    """x_n = up(x_(n-1)) + psi(pad(sigma z + up(x_(n-1)))), written again."""
    network = pyramid().eval()
    random = torch.Generator().manual_seed(1)
    noises = [noise.double() for noise in noise_maps(network.sizes, random)]
    image = torch.zeros(1, 3, 12, 16, dtype=torch.float64)
    for level, noise in enumerate(noises):
        up = resized(image, network.sizes[level])
        added = network.levels[level].layers(F.pad(network.amplitudes[level] * noise + up, (5, 5, 5, 5)))
        image = up + torch.tanh(added)
    assert torch.allclose(network(noises), image, atol=1e-12)
    assert (noises[0][:, 0] == noises[0][:, 1]).all() and (noises[1][:, 0] != noises[1][:, 1]).any()


@pytest.mark.parametrize("padding", ["zero", "noise"])
def test_any_size_follows_the_noise(padding: str) -> None:
    network = pyramid(padding)
    sizes = [(9, 30), (14, 45), (19, 61)]
    noises = [n.double() for n in noise_maps([network.noise_size(s) for s in sizes], torch.Generator().manual_seed(0))]
    assert noises[0].shape[-2:] == ((9, 30) if padding == "zero" else (19, 40))
    assert network.evaluated(noises).shape == (1, 3, 19, 61)


def border_deviation(padding: str) -> tuple[float, float]:
    """Over 64 samples of the whole coarsest scale: at the outermost pixels, and in the middle."""
    torch.manual_seed(3)
    network = pyramid(padding, generator_norm="none")
    for parameter in network.parameters():
        parameter.data.normal_(0, 0.15)
    random = torch.Generator().manual_seed(0)
    size = network.noise_size(network.sizes[0])
    made = torch.cat([network.evaluated([noise_maps([size], random)[0].double()]) for _ in range(64)])
    deviation = made.std(dim=0).mean(dim=0)
    border = torch.cat([deviation[0], deviation[-1], deviation[1:-1, 0], deviation[1:-1, -1]]).mean()
    return float(border), float(deviation[5:-5, 5:-5].mean())


def test_noise_around_a_scale_makes_the_border_vary_as_the_middle() -> None:
    zero, noise = border_deviation("zero"), border_deviation("noise")
    assert zero[0] < 0.9 * zero[1]  # zeros around the input are the same in every sample
    assert abs(noise[0] / noise[1] - 1) < 0.05
    assert noise[0] > zero[0]


def test_padding_once_makes_the_border_vary_more_than_padding_every_layer() -> None:
    """The reason for padding once: with zeros around every layer's input the border is more nearly constant."""
    torch.manual_seed(3)
    network = pyramid(generator_norm="none")
    for parameter in network.parameters():
        parameter.data.normal_(0, 0.15)
        if parameter.ndim == 1:
            parameter.data.zero_()
    random = torch.Generator().manual_seed(0)
    noises = torch.cat([noise_maps([network.sizes[0]], random)[0] for _ in range(64)]).double()
    once, each = F.pad(noises, (5, 5, 5, 5)), noises
    for layer in network.levels[0].layers:
        once = layer(once)
        each = layer(F.pad(each, (1, 1, 1, 1)) if isinstance(layer, nn.Conv2d) else each)
    deviations = [made.detach().std(dim=0).mean(dim=0) for made in (once, each)]
    corner = [float(deviation[0, 0] / deviation[6, 8]) for deviation in deviations]
    assert corner[0] > corner[1]


def test_reconstruction_noise_is_fixed_and_silent_above_the_coarsest_scale() -> None:
    network = pyramid("noise")
    network.fixed_noise.normal_()
    noises = network.reconstruction_noises(0, 3)
    assert noises[0] is network.fixed_noise and all((noise == 0).all() for noise in noises[1:])
    assert [tuple(noise.shape[-2:]) for noise in noises] == [(22, 26), (28, 34), (34, 42)]
    assert all((noise == 0).all() for noise in network.reconstruction_noises(1, 3))
    assert network.reconstruction_noises(0, 0) == []


def test_evaluating_gives_every_part_its_mode_back() -> None:
    network = pyramid()
    network.train_only(range(1, 2))
    before = [module.training for module in network.modules()]
    with evaluating(network):
        assert not any(module.training for module in network.modules())
    assert [module.training for module in network.modules()] == before
    assert [level.training for level in network.levels] == [False, True, False]


@pytest.mark.parametrize("settings", [{"num_layers": 1}, {"channels": 0}, {"slope": 1.0}, {"generator_norm": "layer"},
                                      {"critic_norm": "x"}, {"padding": "mirror"}, {"doubling": 0}])  # fmt: skip
def test_settings_that_make_no_sense(settings: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"networks\."):
        ScaleNetworkConfig(**settings)  # type: ignore[arg-type]
