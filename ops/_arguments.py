"""Checks of arguments that both operators share; they come before any implementation is chosen, so all of them agree."""

import numbers

from torch import Tensor, bfloat16, float16, float32, float64

FLOATING = (float16, bfloat16, float32, float64)


def check_floating(name: str, tensor: Tensor) -> None:
    """Raises TypeError unless `tensor` is a tensor of a floating type."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(tensor).__name__}")
    if tensor.dtype not in FLOATING:
        raise TypeError(f"{name} must be float16, bfloat16, float32 or float64, got {tensor.dtype}")


def check_same_device(name: str, tensor: Tensor, x: Tensor) -> None:
    """Raises ValueError unless `tensor` lies where x lies."""
    if tensor.device != x.device:
        raise ValueError(f"{name} must be on the device of x ({x.device}), got {tensor.device}")


def check_number(name: str, value: object) -> None:
    """Raises TypeError unless `value` is a real number."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")


def check_integers(name: str, values: tuple) -> None:
    """Raises TypeError unless every value is an integer, ValueError for one that no operator can count to."""
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} must be integers, got {value!r}")
        if abs(value) >= 2**31:
            raise ValueError(f"{name} must be integers of 32 bits, got {value}")
