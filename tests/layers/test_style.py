"""Eq. 5, codes to per-channel scale: its invariants, empty groups, and the release's variant."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from sarigan.layers.modulation.demodulation import channel_affine
from sarigan.layers.style import ChannelStyle, GroupStyle, StyleCodes

N = 3


def draw_codes(groups: list[int], num_groups: int, seed: int = 0, empty_group: str = "zero") -> StyleCodes:
    source = torch.Generator().manual_seed(seed)
    draw = lambda size: torch.randn(N, size, generator=source, dtype=torch.float64)  # noqa: E731
    membership = F.one_hot(torch.tensor(groups), num_groups).double()
    return StyleCodes(draw(len(groups)), draw(num_groups), membership=membership, empty_group=empty_group)


groupings = st.lists(st.integers(0, 5), min_size=1, max_size=20)


@settings(max_examples=50)
@given(groups=groupings, seed=st.integers(0, 2**32))
def test_power_of_a_group_is_channels_times_h_squared(groups: list[int], seed: int) -> None:
    """sum over C_i of f^2 = c h_i^2, whatever the size of the group."""
    codes = draw_codes(groups, 6, seed)
    f, offset = channel_affine(codes, epsilon=0.0)
    assert offset is None
    power = f.square() @ codes.membership
    occupied = codes.membership.sum(dim=0) > 0
    expected = torch.where(occupied, len(groups) * codes.h_scale.square(), torch.zeros(()).double())
    torch.testing.assert_close(power, expected, rtol=1e-10, atol=1e-12)


@settings(max_examples=50)
@given(groups=groupings, seed=st.integers(0, 2**32))
def test_equation_5_literally(groups: list[int], seed: int) -> None:
    codes = draw_codes(groups, 6, seed)
    c = len(groups)
    expected = torch.zeros(N, c, dtype=torch.float64)
    for n in range(N):
        for i in set(groups):
            norm = (sum(float(codes.z_scale[n, j]) ** 2 for j in range(c) if groups[j] == i) / c) ** 0.5
            for j in range(c):
                if groups[j] == i:
                    expected[n, j] = codes.h_scale[n, i] * codes.z_scale[n, j] / norm
    torch.testing.assert_close(channel_affine(codes, epsilon=0.0)[0], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("h_of_empty", [0.0, 5.0, -1e30])
def test_empty_group_contributes_exactly_nothing(h_of_empty: float) -> None:
    codes = draw_codes([0, 1, 0, 3], 4)
    before, _ = channel_affine(codes, epsilon=0.0)
    codes.h_scale[:, 2] = h_of_empty
    assert torch.equal(channel_affine(codes, epsilon=0.0)[0], before)


@pytest.mark.parametrize("biases", [False, True])
def test_empty_group_gives_finite_gradient_without_epsilon(biases: bool) -> None:
    codes = draw_codes([0, 1, 0, 3], 4)
    inputs = [codes.z_scale.requires_grad_(True), codes.h_scale.requires_grad_(True)]
    if biases:
        codes.z_bias = torch.randn(N, 4, dtype=torch.float64, requires_grad=True)
        codes.h_bias = torch.randn(N, 4, dtype=torch.float64, requires_grad=True)
        inputs += [codes.z_bias, codes.h_bias]
    parts = [part for part in channel_affine(codes, epsilon=0.0) if part is not None]
    first = torch.autograd.grad(sum(part.square().sum() for part in parts), inputs, create_graph=True)
    second = torch.autograd.grad(sum(gradient.square().sum() for gradient in first), inputs)
    assert all(bool(gradient.isfinite().all()) for gradient in (*first, *second))
    assert (first[1][:, 2] == 0).all()


def test_relabelling_groups_with_their_codes_changes_nothing() -> None:
    codes = draw_codes([0, 1, 0, 3, 2, 2, 1], 4)
    order = torch.tensor([2, 0, 3, 1])
    renamed = StyleCodes(codes.z_scale, codes.h_scale[:, order], membership=codes.membership[:, order])
    torch.testing.assert_close(channel_affine(renamed)[0], channel_affine(codes)[0], rtol=1e-14, atol=0)


def test_scale_of_z_inside_a_group_does_not_matter() -> None:
    codes = draw_codes([0, 1, 0, 1, 1], 2)
    scaled = StyleCodes(codes.z_scale * torch.tensor([2.0, 7.0, 2.0, 7.0, 7.0]), codes.h_scale, membership=codes.membership)
    torch.testing.assert_close(channel_affine(scaled, 0.0)[0], channel_affine(codes, 0.0)[0], rtol=1e-14, atol=0)


def test_one_group_is_stylegan2_up_to_scale() -> None:
    """f = h z / rms(z): proportional to z, and demodulation removes the factor."""
    codes = draw_codes([0] * 7, 1)
    rms = codes.z_scale.square().mean(dim=1, keepdim=True).sqrt()
    torch.testing.assert_close(channel_affine(codes, 0.0)[0], codes.h_scale * codes.z_scale / rms, rtol=1e-14, atol=0)


def test_one_channel_a_group_keeps_only_the_sign_of_z() -> None:
    """f_j = sqrt(c) h_j sign(z_j)."""
    codes = draw_codes(list(range(7)), 7)
    expected = 7**0.5 * codes.h_scale * codes.z_scale.sign()
    torch.testing.assert_close(channel_affine(codes, 0.0)[0], expected, rtol=1e-14, atol=0)


def release_formula(z: Tensor, h: Tensor, hard: Tensor) -> Tensor:
    """The release: rows of (round(softmax(500 P)) + 1e-6) o z, L2-normalised over channels, times h, summed."""
    f = torch.zeros_like(z)
    for n in range(len(z)):
        for i in range(h.shape[1]):
            row = [(float(hard[j, i]) + 1e-6) * float(z[n, j]) for j in range(z.shape[1])]
            length = sum(value**2 for value in row) ** 0.5
            f[n] += torch.tensor([float(h[n, i]) * value / length for value in row], dtype=z.dtype)
    return f


def test_release_variant_is_the_published_formula() -> None:
    """With an empty group (2), and with a channel without any group, as rounding leaves."""
    codes = draw_codes([0, 1, 0, 3, 1], 4, empty_group="release")
    codes.membership[4] = 0
    expected = release_formula(codes.z_scale, codes.h_scale, codes.membership)
    torch.testing.assert_close(channel_affine(codes)[0], expected, rtol=1e-10, atol=1e-14)


def test_release_variant_lets_an_empty_group_move_every_channel() -> None:
    """The quirk `zero` repairs: with h = 5, f moves by several times its own length."""
    groups = [j % 3 for j in range(64)]
    before, _ = channel_affine(draw_codes(groups, 4, empty_group="release"))
    codes = draw_codes(groups, 4, empty_group="release")
    codes.h_scale[:, 3] += 5
    after, _ = channel_affine(codes)
    move = codes.z_scale / codes.z_scale.norm(dim=1, keepdim=True) * 5
    torch.testing.assert_close(after - before, move, rtol=1e-4, atol=1e-4)


def test_release_variant_equals_ours_up_to_scale_without_empty_groups() -> None:
    groups = [0, 1, 2, 0, 1, 2, 2]
    ours, _ = channel_affine(draw_codes(groups, 3), 0.0)
    release, _ = channel_affine(draw_codes(groups, 3, empty_group="release"))
    torch.testing.assert_close(release * 7**0.5, ours, rtol=1e-4, atol=1e-4)  # 1e-6 leaks into other groups


def test_group_style_takes_h_from_the_first_half_and_z_from_the_second() -> None:
    style = GroupStyle(4, 6, 3, biases=True)
    membership = F.one_hot(torch.tensor([0, 1, 2, 0, 1, 2]), 3).float()
    latent = torch.randn(2, 8)
    changed = latent.clone()
    changed[:, :4] = torch.randn(2, 4)
    a, b = style(latent, membership), style(changed, membership)
    assert torch.equal(a.z_scale, b.z_scale) and torch.equal(a.z_bias, b.z_bias)
    assert not torch.equal(a.h_scale, b.h_scale)
    zero = style(torch.zeros(1, 8), membership)
    assert (zero.h_scale == 1).all() and (zero.z_scale == 1).all()
    assert (zero.h_bias == 0).all() and (zero.z_bias == 0).all()


def test_channel_style_takes_w_z() -> None:
    style = ChannelStyle(4, 6)
    latent = torch.randn(2, 8)
    assert torch.equal(style(latent).z_scale, style(latent[:, 4:]).z_scale)
    assert (style(torch.zeros(1, 4)).z_scale == 1).all()
    codes = style(latent)
    f, offset = channel_affine(codes)
    assert f is codes.z_scale and offset is None
