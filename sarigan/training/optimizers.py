"""Adam (Kingma & Ba 2015): checks of its settings, and its form under lazy regularisation."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from sarigan.errors import InputError


def check_adam(config: Any) -> None:
    """InputError naming the first wrong field of a dataclass of Adam's settings, a section `optimizer`.

    Fields that end in `rate` must be positive, beta1 and beta2 in [0, 1), fields that end in `epsilon` not negative, and
    `decay_kimg` null or [start, end].
    """
    for name in (field.name for field in dataclasses.fields(config)):
        value = getattr(config, name)
        if name.endswith("rate") and value <= 0:
            raise InputError(f"optimizer.{name} must be positive, got {value}")
        if name in ("beta1", "beta2") and not 0 <= value < 1:
            raise InputError(f"optimizer.{name} must be in [0, 1), got {value}")
        if name.endswith("epsilon") and value < 0:
            raise InputError(f"optimizer.{name} must not be negative, got {value}")
        if name == "decay_kimg" and value is not None and not 0 <= value[0] < value[1]:
            raise InputError(f"optimizer.decay_kimg must be [start, end] with 0 <= start < end, got {list(value)}")


def lazy_adam(
    parameters: Iterable[nn.Parameter],
    learning_rate: float,
    betas: tuple[float, float],
    epsilon: float,
    regularization_interval: int | None = None,
) -> torch.optim.Adam:
    """Adam for k + 1 updates in k steps, one of them the regulariser's: together they act as k updates of plain Adam.

    Karras et al. 2020 (StyleGAN2), appendix B.

    With c = k / (k + 1): learning rate * c, beta1^c, beta2^c. regularization_interval None: no regulariser, c = 1.
    """
    c = 1.0 if regularization_interval is None else regularization_interval / (regularization_interval + 1)
    return torch.optim.Adam(
        parameters,
        lr=learning_rate * c,
        betas=(betas[0] ** c, betas[1] ** c),
        eps=epsilon,
        fused=True,
    )
