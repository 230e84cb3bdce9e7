"""The residual discriminator against the formulas of its parts, and its Q head."""

import math

import pytest
import torch
from torch.nn import functional as F

from sarigan.errors import InputError
from sarigan.models.discriminator import Discriminator, DiscriminatorConfig, ResidualBlock


def test_residual_block_is_sum_over_sqrt_2() -> None:
    torch.manual_seed(0)
    block = ResidualBlock(3, 5).double()
    with torch.no_grad():
        block.activation.bias.normal_()
        block.down_activation.bias.normal_()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    y = F.leaky_relu(block.conv(x) + block.activation.bias[:, None, None], 0.2) * math.sqrt(2)
    y = F.leaky_relu(block.down(y) + block.down_activation.bias[:, None, None], 0.2) * math.sqrt(2)
    torch.testing.assert_close(block(x), (y + block.skip(x)) / math.sqrt(2))


def test_layers_and_widths_of_config_e() -> None:
    with torch.device("meta"):
        discriminator = Discriminator(DiscriminatorConfig(), 256)
    widths = {name: tuple(block.down.weight.shape[:2]) for name, block in discriminator.blocks.items()}
    assert list(widths) == ["256x256", "128x128", "64x64", "32x32", "16x16", "8x8"]
    assert widths["256x256"] == (128, 64) and widths["128x128"] == (256, 128) and widths["64x64"] == (512, 256)
    assert discriminator.conv.weight.shape == (512, 513, 3, 3)  # one map of minibatch statistics
    assert discriminator.recognition is None  # unless the width of the codes is given


def test_the_last_convolution_has_the_width_of_4_pixels() -> None:
    discriminator = Discriminator(DiscriminatorConfig(channel_base=32, channel_max=512), 16)
    assert [block.down.weight.shape[:2] for block in discriminator.blocks.values()] == [(8, 4), (16, 8)]
    assert discriminator.conv.weight.shape == (16, 17, 3, 3) and discriminator.dense.weight.shape == (16, 256)
    assert discriminator(torch.zeros(2, 3, 16, 16)).logits.shape == (2,)


@pytest.mark.parametrize("code_dim", [0, 6])
def test_outputs(code_dim: int) -> None:
    discriminator = Discriminator(DiscriminatorConfig(channel_base=64, channel_max=8), 16, code_dim)
    output = discriminator(torch.randn(4, 3, 16, 16))
    assert output.logits.shape == (4,)
    if code_dim:
        assert output.codes is not None and output.codes.shape == (4, code_dim)
    else:
        assert output.codes is None and discriminator.recognition is None


def test_d_and_q_share_every_layer_but_the_last() -> None:
    discriminator = Discriminator(DiscriminatorConfig(channel_base=64, channel_max=8), 16, 6)
    output = discriminator(torch.randn(4, 3, 16, 16))

    def reached(value: torch.Tensor) -> set[str]:
        named = list(discriminator.named_parameters())
        gradients = torch.autograd.grad(value, [p for _, p in named], allow_unused=True, retain_graph=True)
        return {name for (name, _), gradient in zip(named, gradients, strict=True) if gradient is not None}

    by_d, by_q = reached(output.logits.sum()), reached(output.codes.sum())
    assert by_d - by_q == {"head.weight", "head.bias"}
    assert by_q - by_d == {"recognition.linear.weight", "recognition.linear.bias"}


def test_wrong_configurations() -> None:
    with pytest.raises(InputError, match=r"discriminator\.channel_max must be at least 1, got 0"):
        DiscriminatorConfig(channel_max=0)
    with pytest.raises(InputError, match="minibatch_stddev_group must be at least 1, got 0"):
        DiscriminatorConfig(minibatch_stddev_group=0)
    with pytest.raises(InputError, match=r"discriminator\.channel_base must be at least 128 at resolution 256, got 64"):
        Discriminator(DiscriminatorConfig(channel_base=64), 256)
