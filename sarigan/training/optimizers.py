"""Adam under lazy regularisation (Karras et al. 2020, StyleGAN2, appendix B)."""

from collections.abc import Iterable

import torch
from torch import nn


def lazy_adam(
    parameters: Iterable[nn.Parameter],
    learning_rate: float,
    betas: tuple[float, float],
    epsilon: float,
    regularization_interval: int | None = None,
) -> torch.optim.Adam:
    """Adam for k + 1 updates in k steps, one of them the regulariser's: together they act as k updates of plain Adam.

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
