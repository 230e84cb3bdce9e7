"""StyleGAN's epilogue: the order noise, bias, leaky ReLU, instance norm, style."""

import math

import torch

from sarigan.layers.modulation.adain import AdaINEpilogue


def test_order_of_operations() -> None:
    torch.manual_seed(0)
    epilogue = AdaINEpilogue(style_dim=4, num_channels=3).double()
    with torch.no_grad():
        epilogue.noise.strength.normal_()
        epilogue.activation.bias.normal_()
    x = torch.randn(2, 3, 5, 5, dtype=torch.float64)
    latent, noise = torch.randn(2, 4, dtype=torch.float64), torch.randn(2, 1, 5, 5, dtype=torch.float64)
    style = latent @ epilogue.style.weight.T / math.sqrt(4) + epilogue.style.bias
    for n in range(2):
        for c in range(3):
            y = x[n, c] + epilogue.noise.strength[c] * noise[n, 0]
            y = y + epilogue.activation.bias[c]
            y = torch.where(y > 0, y, 0.2 * y) * math.sqrt(2)
            y = (y - y.mean()) / torch.sqrt(y.var(unbiased=False) + 1e-8)
            y = y * (style[n, c] + 1) + style[n, 3 + c]
            torch.testing.assert_close(epilogue(x, latent, noise)[n, c], y)


def test_noise_is_per_channel_and_starts_at_zero() -> None:
    epilogue = AdaINEpilogue(4, 3)
    assert epilogue.noise.strength.shape == (3, 1, 1) and (epilogue.noise.strength == 0).all()


def test_a_zero_latent_leaves_normalised_features() -> None:
    """The affine map's bias starts at 0 for scale - 1 and for shift."""
    epilogue = AdaINEpilogue(4, 3)
    y = epilogue(torch.randn(2, 3, 8, 8), torch.zeros(2, 4), None)
    torch.testing.assert_close(y.mean(dim=(2, 3)), torch.zeros(2, 3), rtol=0, atol=1e-5)
    torch.testing.assert_close(y.var(dim=(2, 3), unbiased=False), torch.ones(2, 3), rtol=1e-4, atol=0)
