"""Contextual attention against slow loops, and what the paper says it does: copy, shift, never look into a hole."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from sarigan.systems.inpainting.two_stage.contextual_attention import (
    ContextualAttention,
    contextual_attention,
    fused,
    valid_patches,
)

SHARP = 1e6  # a softmax scale that leaves the best position alone


def patch(image: np.ndarray, top: int, left: int, size: int) -> np.ndarray:
    """[C,size,size], zero outside the image."""
    found = np.zeros((image.shape[0], size, size))
    for y in range(size):
        for x in range(size):
            if 0 <= top + y < image.shape[1] and 0 <= left + x < image.shape[2]:
                found[:, y, x] = image[:, top + y, left + x]
    return found


def by_loops(f: np.ndarray, b: np.ndarray, known: np.ndarray, released: bool, scale: float, fuse: bool) -> np.ndarray:
    """One sample: f, b [C,H,W], known [R,R]. Every sum of the definition written out."""
    channels, height, width = b.shape
    rows, columns = height // 2, width // 2
    cell = known.shape[0] // rows
    hole = np.zeros((rows, columns))
    for y in range(rows):
        for x in range(columns):
            square = known[y * cell : (y + 1) * cell, x * cell : (x + 1) * cell]
            hole[y, x] = (1 - known[y * cell, x * cell]) if released else (square == 0).any()
    places = [(y, x) for y in range(rows) for x in range(columns)]
    valid = [
        all(hole[i, j] == 0 for i in range(max(y - 1, 0), min(y + 2, rows)) for j in range(max(x - 1, 0), min(x + 2, columns)))
        for y, x in places
    ]
    small_f, small_b = f[:, ::2, ::2], b[:, ::2, ::2]
    scores = np.zeros((rows, columns, rows, columns))
    for fy, fx in places:
        for index, (by, bx) in enumerate(places):
            asked, key = patch(small_f, fy - 1, fx - 1, 3), patch(small_b, by - 1, bx - 1, 3)
            if valid[index] or released:
                scores[fy, fx, by, bx] = (asked * key).sum() / max(math.sqrt((key**2).sum()), 1e-4)
    if fuse:
        for order in ("C", "F"):  # along rows, then along columns
            numbers = {
                place: (place[0] * columns + place[1]) if order == "C" else (place[1] * rows + place[0]) for place in places
            }
            at, total = {number: place for place, number in numbers.items()}, np.zeros_like(scores)
            for one in places:
                for two in places:
                    for step in (-1, 0, 1):
                        i, j = numbers[one] + step, numbers[two] + step
                        if i in at and j in at:
                            total[(*one, *two)] += scores[(*at[i], *at[j])]
            scores = total
    pasted, overlap = np.zeros_like(b), np.zeros((height, width))
    for fy, fx in places:
        row = np.array([scale * scores[(fy, fx, *place)] for place in places])
        row = np.where(valid, row, 0.0 if released else -np.inf)
        if not any(valid):
            weights = np.zeros(len(row))
        else:
            weights = np.exp(row - row.max()) / np.exp(row - row.max()).sum() * np.array(valid)
        for y in range(4):
            for x in range(4):
                top, left = 2 * fy - 1 + y, 2 * fx - 1 + x
                if 0 <= top < height and 0 <= left < width:
                    overlap[top, left] += 1
                    for weight, (by, bx) in zip(weights, places, strict=True):
                        pasted[:, top, left] += weight * patch(b, 2 * by - 1, 2 * bx - 1, 4)[:, y, x]
    return pasted / (4 if released else overlap)


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("released", [True, False])
def test_against_loops(released: bool, fuse: bool) -> None:
    torch.manual_seed(0)
    f, b = torch.randn(2, 3, 8, 8, dtype=torch.float64), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    known = torch.ones(2, 1, 16, 16, dtype=torch.float64)
    known[0, :, 10:, 9:] = 0
    known[1, :, 1, 2] = 0  # not a pixel that the nearest one of a cell is
    found = contextual_attention(f, b, known, released, scale=0.7, fuse=fuse)
    for index in range(2):
        mask = known[0 if released else index, 0].numpy()
        expected = by_loops(f[index].numpy(), b[index].numpy(), mask, released, 0.7, fuse)
        assert np.allclose(found[index].numpy(), expected, atol=1e-9)


def test_a_sharp_attention_to_itself_is_the_identity() -> None:
    torch.manual_seed(0)
    x, known = torch.randn(2, 4, 12, 12, dtype=torch.float64), torch.ones(2, 1, 48, 48, dtype=torch.float64)
    assert torch.allclose(contextual_attention(x, x, known, scale=SHARP, fuse=False), x, atol=1e-9)
    released = contextual_attention(x, x, known, True, SHARP, fuse=False) / x
    assert torch.allclose(released[:, :, 1:-1, 1:-1], torch.ones(()).double())
    assert torch.allclose(released[:, :, 0, 1:-1], torch.tensor(0.5).double())
    assert torch.allclose(released[:, :, -1, -1], torch.tensor(0.25).double())


@pytest.mark.parametrize("shift", [(2, 0), (0, 4), (4, 2)])
def test_even_shifts_are_recovered(shift: tuple[int, int]) -> None:
    """f asks with what stands `shift` away in b, and gets it."""
    torch.manual_seed(0)
    b = torch.randn(1, 8, 16, 16, dtype=torch.float64)
    f = torch.roll(b, shift, dims=(2, 3))
    found = contextual_attention(f, b, torch.ones(1, 1, 16, 16).double(), scale=SHARP)
    inner = (slice(None), slice(None), slice(8, 12), slice(8, 12))
    assert torch.allclose(found[inner], f[inner], atol=1e-9)


@pytest.mark.parametrize("fuse", [True, False])
def test_what_stands_in_a_hole_never_matters(fuse: bool) -> None:
    torch.manual_seed(0)
    f, b = torch.randn(2, 3, 16, 16), torch.randn(2, 3, 16, 16)
    known = torch.ones(2, 1, 64, 64)
    known[0, :, 20:41, 8:30], known[1, :, :5, 60:] = 0, 0
    found = contextual_attention(f, b, known, fuse=fuse)
    cells = torch.nn.functional.max_pool2d(1 - known, 4)  # of the features that any pixel of the hole touches
    other = torch.where(cells > 0, torch.randn_like(b) * 100, b)
    assert torch.equal(contextual_attention(f, other, known, fuse=fuse), found)
    nearby = b.clone()
    nearby[:, :, 14, 4] += 1
    assert not torch.equal(contextual_attention(f, nearby, known, fuse=fuse), found)


def test_as_released_part_of_the_weight_goes_to_nothing() -> None:
    torch.manual_seed(0)
    f, b = torch.randn(1, 3, 16, 16), torch.ones(1, 3, 16, 16)
    known = torch.ones(1, 1, 16, 16)
    known[:, :, 4:12, 4:12] = 0
    ours, released = (contextual_attention(f, b, known, flag, scale=0.1, fuse=False) for flag in (False, True))
    assert (released < ours).all() and (released[:, :, 1:-1, 1:-1] < 0.9 * ours[:, :, 1:-1, 1:-1]).all()


def test_masks_are_each_samples_own_or_the_first_ones_as_released() -> None:
    torch.manual_seed(0)
    x, known = torch.randn(2, 3, 8, 8), torch.ones(2, 1, 32, 32)
    known[1, :, 8:24, 8:24] = 0
    alone = contextual_attention(x[1:], x[1:], known[1:])
    assert torch.allclose(contextual_attention(x, x, known)[1:], alone, atol=1e-6)
    first = contextual_attention(x[1:], x[1:], known[:1], True)
    assert torch.allclose(contextual_attention(x, x, known, True)[1:], first, atol=1e-6)
    assert not torch.allclose(first, contextual_attention(x[1:], x[1:], known[1:], True), atol=1e-3)


def test_without_a_valid_patch_the_result_and_the_gradients_are_zero() -> None:
    x, known = torch.randn(1, 3, 8, 8, requires_grad=True), torch.zeros(1, 1, 32, 32)
    assert not valid_patches(known, 4).any() and valid_patches(1 - known, 4).all()
    found = contextual_attention(x, x, known)
    (gradient,) = torch.autograd.grad(found.sum(), x)
    assert not found.any() and not gradient.any()


def test_fusing_ones_gives_nine() -> None:
    found: Tensor = fused(torch.ones(1, 36, 36), 6, 6)
    assert found.shape == (1, 36, 36) and found[0, 14, 14] == 9
    assert found[0, 11, 11] == 9  # the end of a row: reading order leads on to the next one
    assert found[0, 0, 0] == 2 + 3  # no pair before the first


def test_gradients_are_those_of_differences() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    known = torch.ones(1, 1, 8, 8, dtype=torch.float64)
    known[:, :, :2, :2] = 0
    known[:, :, :1, :1] = 1
    assert torch.autograd.gradcheck(lambda x: ContextualAttention(False)(x, torch.ones_like(known), None), (x,))
