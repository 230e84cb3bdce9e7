"""Adam under lazy regularisation (Karras et al. 2020, StyleGAN2, appendix B)."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from sarigan.config import OptimizerConfig
from sarigan.files.weights import check_numbers


def lazy_adam(
    parameters: Iterable[nn.Parameter],
    learning_rate: float,
    config: OptimizerConfig,
    regularization_interval: int | None = None,
    epsilon: float | None = None,
) -> torch.optim.Adam:
    """Adam whose k + 1 updates in k steps, the regulariser's among them, move and forget as k plain ones would.

    With c = k / (k + 1): learning rate * c, beta1^c, beta2^c. interval None: no regulariser, c = 1.
    """
    c = 1.0 if regularization_interval is None else regularization_interval / (regularization_interval + 1)
    return torch.optim.Adam(
        parameters,
        lr=learning_rate * c,
        betas=(config.beta1**c, config.beta2**c),
        eps=config.epsilon if epsilon is None else epsilon,
        fused=True,
    )


def load_moments(optimizer: torch.optim.Adam, state: dict[str, Any]) -> None:
    """The moments and steps of an Adam's `state_dict`; all settings stay the optimiser's own.

    ValueError for moments of another shape than their parameter, which fused Adam would write past, or that are not finite.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if [index for group in state["param_groups"] for index in group["params"]] != [*range(len(parameters))]:
        raise ValueError("the optimiser's parameters are others")
    for index, moments in state["state"].items():
        parameter, step = parameters[index], moments["step"]
        for name in ("exp_avg", "exp_avg_sq"):
            check_numbers(f"{name} of parameter {index}", moments[name], parameter)
            if moments[name].shape != parameter.shape:
                found, right = (tuple(tensor.shape) for tensor in (moments[name], parameter))
                raise ValueError(f"{name} of parameter {index} has the shape {found}, the parameter {right}")
        if not isinstance(step, torch.Tensor) or step.numel() != 1 or not 0 <= float(step) < math.inf:
            raise ValueError(f"step of parameter {index} must be a number from 0")
    settings = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, own in zip(optimizer.param_groups, settings, strict=True):
        group.update(own)
