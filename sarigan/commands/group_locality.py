"""The older name of `sarigan semantics`: part IoU and edit lift of a layer's groups are two of its scores."""

from sarigan.commands.semantics import main

__all__ = ["main"]
