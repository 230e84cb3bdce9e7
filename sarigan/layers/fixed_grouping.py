"""Groups that never change, and the contiguous ones whose kernels are trained to match them: controls of learned groups."""

import torch
from torch import Tensor

from sarigan.layers.base_grouping import Grouping, one_hot
from sarigan.layers.kernel_similarity import block_diagonal_loss


def contiguous_groups(num_channels: int, num_groups: int) -> Tensor:
    """floor(j g / c) for channel j: [c]."""
    return torch.arange(num_channels) * num_groups // num_channels


class FixedGrouping(Grouping):
    """Contiguous blocks or a random partition of equal sizes. Controls without a loss."""

    groups: Tensor

    def __init__(self, num_channels: int, num_groups: int, shuffle_seed: int | None = None) -> None:
        super().__init__(num_channels, num_groups)
        groups = contiguous_groups(num_channels, num_groups)
        if shuffle_seed is not None:
            groups = groups[torch.randperm(num_channels, generator=torch.Generator().manual_seed(shuffle_seed))]
        self.register_buffer("groups", groups)

    def membership(self) -> Tensor:
        """[c,g], one-hot rows, in the default dtype."""
        return one_hot(self.groups, self.num_groups, torch.get_default_dtype())


class BlockDiagonalGrouping(FixedGrouping):
    """Contiguous groups whose *kernels* are trained to match them (the DBT baseline)."""

    def kernel_loss(self, kernel: Tensor) -> Tensor:
        return block_diagonal_loss(kernel, self.groups)
