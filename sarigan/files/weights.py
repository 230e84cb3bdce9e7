"""Weights from a file into a network: numbers of the right kind, all of them finite."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def load_weights(module: nn.Module, weights: Mapping[str, Any]) -> None:
    """`module.load_state_dict(weights)`, which by itself would cast whole numbers and take NaN.

    ValueError naming the first weight that is no tensor of the module's kind and shape, or not finite in the module's type;
    RuntimeError, as PyTorch raises it, for other names.
    """
    own = module.state_dict()
    for name, value in weights.items():
        if name in own:
            check_numbers(name, value, own[name])
    module.load_state_dict(weights)


def check_numbers(name: str, value: Any, like: Tensor) -> None:
    """ValueError unless `value` is a tensor of the kind and shape of `like`, and finite when it has the type of `like`."""
    wanted = "floating-point numbers" if like.is_floating_point() else str(like.dtype)
    if not isinstance(value, Tensor):
        raise ValueError(f"{name} must hold {wanted}, got {type(value).__name__}")
    if value.is_floating_point() != like.is_floating_point() or not (like.is_floating_point() or value.dtype == like.dtype):
        raise ValueError(f"{name} must hold {wanted}, got {value.dtype}")
    if value.shape != like.shape:  # a view of a few numbers can have any shape, and is not looked through
        raise ValueError(f"{name} has the shape {tuple(value.shape)}, must have {tuple(like.shape)}")
    if value.is_floating_point() and not bool(value.to(like.dtype).isfinite().all()):
        raise ValueError(f"{name} holds numbers that are not finite")


def floating_type(value: Any) -> torch.dtype:
    """The type that a network takes from one of its weights; ValueError when it is none to compute in."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        found = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"weights must be floating-point numbers, got {found}")
    return value.dtype


def load_moments(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
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
        if not isinstance(step, torch.Tensor) or step.numel() != 1 or not 0 <= float(step) < math.inf:
            raise ValueError(f"step of parameter {index} must be a number from 0")
    settings = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, own in zip(optimizer.param_groups, settings, strict=True):
        group.update(own)
