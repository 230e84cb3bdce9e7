"""Directions of w in closed form, for any model (Shen & Zhou 2021, "Closed-Form Factorization of Latent Semantics", SeFa).

A style is affine in w: s = A w + b. The unit directions that change the styles most are the eigenvectors of A^T A with the
largest eigenvalues, where A holds the style matrices of the chosen layers one below the other. No image is needed.
Legend: K directions, L latents, D = w_dim.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from sarigan.errors import InputError
from sarigan.layers.linear import EqualizedLinear
from sarigan.models.generator import Generator
from sarigan.models.synthesis import SkipSynthesis


def style_matrix(generator: Generator, layers: Sequence[str] | None = None) -> Tensor:
    """A [sum of codes, D] of the named layers (None: all but ToRGB), in float64. InputError for a layer that is not there.

    Of a grouped layer, h depends on w_h, the first half of w, and z on w_z: their matrices stand in the columns of their half.
    """
    synthesis = generator.synthesis
    if not isinstance(synthesis, SkipSynthesis):
        raise InputError("directions are of StyleGAN2 and SariGAN alone (system: style, generator.synthesis=skip)")
    found = dict(synthesis.named_layers())
    rows = []
    for name in found if layers is None else layers:
        if name not in found:
            raise InputError(f"no layer {name!r}: the layers are {', '.join(found)}")
        for code in ("h_scale", "z_scale"):
            linear = getattr(found[name].style, code, None)
            if isinstance(linear, EqualizedLinear):
                matrix = linear.weight.detach().double() * linear.weight_scale
                other = matrix.new_zeros(len(matrix), generator.config.w_dim - matrix.shape[1])
                rows.append(torch.cat([matrix, other] if code == "h_scale" else [other, matrix], dim=1))
    if not rows:
        raise InputError("directions need at least one layer, got none")
    return torch.cat(rows)


def factorized_directions(generator: Generator, layers: Sequence[str] | None = None) -> tuple[Tensor, Tensor]:
    """Directions [D,D], unit rows, strongest first, and their eigenvalues [D]. The largest entry of each is positive."""
    matrix = style_matrix(generator, layers)
    values, vectors = torch.linalg.eigh(matrix.t() @ matrix)
    directions = vectors.t().flip(0)
    peaks = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))
    return (directions * peaks.sign()).to(generator.mean_latent), values.flip(0).clamp_min(0).to(generator.mean_latent)


def moved(
    generator: Generator, latents: Tensor, direction: Tensor, amount: float, layers: Sequence[str] | None = None
) -> Tensor:
    """latents [N,L,D] with amount * direction [D] added where the named layers take theirs (None: in all of them)."""
    synthesis = generator.synthesis
    if layers is None or not isinstance(synthesis, SkipSynthesis):
        return latents + amount * direction
    chosen = torch.tensor([name in layers for name, _ in synthesis.named_layers()] + [False], device=latents.device)
    return latents + amount * chosen[None, :, None] * direction


@torch.no_grad()
def latent_deviation(generator: Generator, directions: Tensor, num_samples: int = 1000) -> list[float]:
    """Standard deviation of w along unit directions [K,D], over latents of a fixed seed."""
    z = torch.randn(num_samples, generator.config.z_dim, generator=torch.Generator().manual_seed(0))
    return (generator.mapping(z.to(directions), generator.draw_labels(len(z), 0)) @ directions.t()).std(dim=0).tolist()
