"""SariGAN: Learning Semantic-aware Normalization for Generative Adversarial Networks (NeurIPS 2020)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sarigan.exporting.hub import from_pretrained
    from sarigan.pretrained import load_generator

__all__ = ["from_pretrained", "load_generator"]


def __getattr__(name: str) -> Any:
    # On first use: whoever only prepares data does not wait seconds for PyTorch, in no worker process either.
    if name == "load_generator":
        from sarigan.pretrained import load_generator

        return load_generator
    if name == "from_pretrained":
        from sarigan.exporting.hub import from_pretrained

        return from_pretrained
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
