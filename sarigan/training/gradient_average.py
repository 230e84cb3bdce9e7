"""Gradients averaged over ranks where no data-parallel replica does it."""

from collections.abc import Iterable

import torch
from torch import nn

from sarigan import distributed


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace the gradients by their means over all processes, the same on every rank, in one reduction.

    Every process calls it with gradients of the same parameters, all of one type and device. Nothing for a single process.
    """
    if distributed.world_size() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    means = distributed.sum_over_ranks(flat) / distributed.world_size()
    for gradient, mean in zip(gradients, means.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))
