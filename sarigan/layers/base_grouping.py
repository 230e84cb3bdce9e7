"""What a grouping is: the interface that layers, losses and reports know of every kind (`sarigan.layers.grouping`).

Legend: c channels, g groups. A kernel [c,...] holds the weights of the convolution that produces the c channels.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn


@dataclass
class GroupingLoss:
    """The terms of one layer's loss, before weights are applied."""

    similarity: Tensor  # Eq. 2, reduced as configured: a scalar
    threshold: Tensor | None  # of a learned r, or of a learned number of groups: a scalar
    mean_squared_error: Tensor  # Eq. 2 averaged over c*c whatever the reduction; detached


def one_hot(groups: Tensor, num_groups: int, dtype: torch.dtype) -> Tensor:
    """Group indices [c] -> [c,g]. Unlike `F.one_hot` it does not look at the values, so the device is never waited for."""
    return (groups[:, None] == torch.arange(num_groups, device=groups.device)).to(dtype)


class Grouping(nn.Module, ABC):
    """Assigns c channels to g groups. kernel: the weights [c,...] that produce the channels."""

    needs_features: ClassVar[bool] = False  # whether `observe` wants to be called before each loss

    def __init__(self, num_channels: int, num_groups: int) -> None:
        super().__init__()
        self.num_channels, self.num_groups = num_channels, num_groups

    @abstractmethod
    def membership(self) -> Tensor:
        """[c,g], one-hot rows."""

    def trained_membership(self) -> Tensor:
        """`membership` as the styles use it; it carries gradient to `image_parameters`."""
        return self.membership()

    def image_parameters(self) -> list[nn.Parameter]:
        """Those that the losses of images train, too. By default groups follow the kernels, and nothing else."""
        return []

    def initialize(self, kernel: Tensor) -> None:
        """Called once, before training, with the initial kernels."""

    def observe(self, moments: Tensor) -> None:
        """Take notice of what the channels do: second moments [c+1,c+1] (`feature_moments`), the same on every rank."""

    def loss(self, kernel: Tensor) -> GroupingLoss | None:
        """The loss of the grouping's own parameters; None when it has none. No gradient reaches the kernels."""
        return None

    def kernel_loss(self, kernel: Tensor) -> Tensor | None:
        """A scalar loss of the kernels, added to the generator's loss; None when there is none."""
        return None

    def statistics(self, kernel: Tensor) -> dict[str, Tensor]:
        """Scalars to log of the layer, by name; on the device."""
        return {}
