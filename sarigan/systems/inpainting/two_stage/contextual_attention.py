"""Contextual attention (Yu et al. 2018, "Generative Image Inpainting with Contextual Attention", sec. 4).

Patches of what is known are compared with patches at every position, and what is pasted there is their weighted mean.
Legend: `N` batch, `C` channels, `L` = H/2 * W/2 positions, f the features that ask, b those that answer.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sarigan.layers.normalization import full_precision

SOFTMAX_SCALE = 10.0
SMALLEST_NORM = 1e-4
NEVER = -1e30  # a score whose softmax is exactly 0 beside any other


def contextual_attention(
    asking: Tensor, answering: Tensor, known: Tensor, as_released: bool = False, scale: float = SOFTMAX_SCALE, fuse: bool = True
) -> Tensor:
    """f, b [N,C,H,W] and known [N,1,R,R], R a multiple of H/2 -> [N,C,H,W], in float32 at least.

    The score of two positions is the inner product of 3x3 patches at half the size, b's divided by its norm. `fuse` adds the
    scores of the neighbouring pairs. What is pasted are 4x4 patches of b, two steps apart, divided by how many overlap.
    A patch of b counts where no pixel of it is in the hole; without such a patch the result is 0.

    as_released, as the published code computes it: scores in the hole are 0 instead of minus infinity, so that the weights of
    the others sum to less than 1; the overlap is 4 even at the border, which comes out at a half, corners at a quarter; the
    mask is the nearest pixel of the first sample's.
    """
    size, rows, columns = answering.shape[2:], answering.shape[2] // 2, answering.shape[3] // 2
    f, b = full_precision(asking), full_precision(answering)
    valid = valid_patches(known, rows, as_released).to(b.dtype)
    keys = F.unfold(b[:, :, ::2, ::2], 3, padding=1)  # [N,9C,L]
    keys = keys / torch.linalg.vector_norm(keys, dim=1, keepdim=True).clamp_min(SMALLEST_NORM)
    scores = F.unfold(f[:, :, ::2, ::2], 3, padding=1).transpose(1, 2) @ keys  # [N,L,L]: f, b
    if not as_released:
        scores = scores * valid  # before they are fused, so that nothing of the hole reaches a valid neighbour
    if fuse:
        scores = fused(scores, rows, columns)
    logits = scale * scores * valid if as_released else (scale * scores).masked_fill(valid == 0, NEVER)
    weights = torch.softmax(logits, dim=2) * valid
    pasted = F.unfold(b, 4, stride=2, padding=1) @ weights.transpose(1, 2)  # [N,16C,L]
    total = F.fold(pasted, size, 4, stride=2, padding=1)
    if as_released:
        return total / 4
    ones = torch.ones(1, 16, rows * columns, device=b.device, dtype=b.dtype)
    return total / F.fold(ones, size, 4, stride=2, padding=1)


def valid_patches(known: Tensor, rows: int, as_released: bool = False) -> Tensor:
    """bool [N,1,L], or [1,1,L] as released: whether the 3x3 patch at each of L = rows^2 positions is free of a hole."""
    hole, cell = 1 - known, known.shape[3] // rows
    cells = hole[:1, :, ::cell, ::cell] if as_released else F.max_pool2d(hole, cell)
    return F.max_pool2d(cells, 3, stride=1, padding=1).flatten(start_dim=2) < 0.5


def fused(scores: Tensor, rows: int, columns: int) -> Tensor:
    """[N,L,L] -> every score plus those of the pairs one step before and after: along rows, then along columns.

    Positions stand in reading order, so a step at the end of a row leads to the next row, as in the published code.
    """
    for height, width in ((rows, columns), (columns, rows)):
        padded = F.pad(scores, (1, 1, 1, 1))
        scores = scores + padded[:, :-2, :-2] + padded[:, 2:, 2:]
        by_axis = scores.unflatten(2, (height, width)).unflatten(1, (height, width))
        scores = by_axis.permute(0, 2, 1, 4, 3).flatten(3, 4).flatten(1, 2)
    return scores


class ContextualAttention(nn.Module):
    """x [N,C,H,W], known [N,1,R,R] -> [N,C,H,W]: x attends to itself. Nothing is trained and nothing is drawn."""

    num_positions = 0  # random ones that a sample needs

    def __init__(self, as_released: bool) -> None:
        super().__init__()
        self.as_released = as_released

    def forward(self, x: Tensor, known: Tensor, positions: Tensor | None) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return contextual_attention(x, x, known, self.as_released).to(x.dtype)

    def penalty(self) -> Tensor | None:
        """None: it has no loss of its own."""
        return None
