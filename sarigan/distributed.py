"""Rank and world size, the only place that knows them. One process for now: more are refused, not silently separate runs."""

import os

from sarigan.errors import InputError


def rank() -> int:
    """Index of this process among `world_size()`."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """Number of processes that train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this process writes files and prints."""
    return rank() == 0


def require_single_process() -> None:
    """InputError under a launcher with several processes."""
    if world_size() > 1:
        raise InputError(f"WORLD_SIZE={world_size()}: training runs in one process; start it without a launcher")
