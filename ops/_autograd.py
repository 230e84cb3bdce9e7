"""Autograd functions that torch.func can transform, without paying for it when nothing is transformed.

torch.func needs `forward` and `setup_context` apart. Called outside of it, a function of that form binds its arguments to a
signature every time, which costs several times as much as a small operator; the form with `forward(ctx, ...)` does not.
"""

from typing import Any

import torch

transforms_active = getattr(torch._C, "_are_functorch_transforms_active", lambda: True)


class Transformable(torch.autograd.Function):
    """Subclasses define forward(*args), setup_context(ctx, args, output) and backward(ctx, *grads), and are used by `call`."""

    generate_vmap_rule = True
    plain: Any

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()

        def forward(ctx: Any, *args: Any) -> Any:
            output = cls.forward(*args)
            cls.setup_context(ctx, args, output)
            return output

        methods = {"forward": staticmethod(forward), "backward": staticmethod(cls.backward)}
        cls.plain = type(f"{cls.__name__}Plain", (torch.autograd.Function,), methods)

    @classmethod
    def call(cls, *args: Any) -> Any:
        """Apply the function to positional arguments."""
        return cls.apply(*args) if transforms_active() else cls.plain.apply(*args)
