"""A coarse network and one that refines its output: CA (Yu et al. 2018) and AN (Wang et al. 2020), by the published code.

Both see [image where known, 1, hole]. The refining network has two branches at a quarter of the size: one with dilated
convolutions, one whose middle is the contextual attention or the attentive normalisation. The result draws nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from sarigan.errors import InputError, require_at_least_1, require_at_most, require_one_of
from sarigan.systems.inpainting.two_stage.attentive_normalization import AttentiveNormalization
from sarigan.systems.inpainting.two_stage.contextual_attention import ContextualAttention
from sarigan.systems.inpainting.two_stage.same_convolution import SameConvolution

DILATIONS = (2, 4, 8, 16)


class Middle(Protocol):
    """What stands in the attentive branch: x [N,C,H,W], known [N,1,R,R], positions [N,num_positions] or none -> [N,C,H,W]."""

    num_positions: int

    def __call__(self, x: Tensor, known: Tensor, positions: Tensor | None) -> Tensor: ...

    def penalty(self) -> Tensor | None:
        """A loss of its own, a scalar."""


@dataclass(frozen=True)
class TwoStageConfig:
    """Defaults are those of CA."""

    resolution: int = 256
    width: int = 32  # channels at full size; twice and four times as many at half and a quarter of it
    refinement: str = "contextual_attention"  # contextual_attention | attentive_normalization
    num_regions: int = 16  # of the attentive normalisation
    as_released: bool = False  # the refinement's module with the faults of its published code

    def __post_init__(self) -> None:
        require_at_least_1(self, "width", "num_regions", prefix="generator.")
        require_at_most("generator", self, width=1024, num_regions=1024)
        require_one_of(self, "generator.", refinement=(*REFINEMENTS,))
        if self.resolution < 8 or self.resolution > 1024 or self.resolution & (self.resolution - 1):
            raise InputError(f"generator.resolution must be a power of two from 8 to 1024, got {self.resolution}")
        if self.width % 2:
            raise InputError(f"generator.width must be even, got {self.width}")


@dataclass(frozen=True)
class TwoStageOutput:
    """Of N samples."""

    images: Tensor  # [N,3,R,R]: the given image where known, the refined one elsewhere
    coarse: Tensor  # [N,3,R,R], as the network gives it, -1..1
    refined: Tensor  # the same of the second network
    penalty: Tensor | None  # the refinement's own loss, a scalar


def convolution(in_channels: int, out_channels: int, **settings: int) -> SameConvolution:
    """With an ELU."""
    return SameConvolution(in_channels, out_channels, activation=nn.ELU(), **settings)


def encoder(width: int, half: int, quarter: int, last: nn.Module | None) -> nn.Sequential:
    """[N,5,R,R] -> [N,4w,R/4,R/4]; `half` and `quarter` channels after the two strides, `last`: the last activation."""
    w = width
    return nn.Sequential(
        convolution(5, w, kernel=5), convolution(w, half, stride=2), convolution(half, 2 * w),
        convolution(2 * w, quarter, stride=2), convolution(quarter, 4 * w), SameConvolution(4 * w, 4 * w, activation=last),
    )  # fmt: skip


def dilated(width: int) -> list[nn.Module]:
    """Four convolutions of 4w channels that see ever farther."""
    return [convolution(4 * width, 4 * width, dilation=dilation) for dilation in DILATIONS]


def decoder(in_channels: int, width: int) -> nn.Sequential:
    """[N,c,R/4,R/4] -> [N,3,R,R] in -1..1, cut off there."""
    w = width
    return nn.Sequential(
        convolution(in_channels, 4 * w), convolution(4 * w, 4 * w),
        nn.Upsample(scale_factor=2), convolution(4 * w, 2 * w), convolution(2 * w, 2 * w),
        nn.Upsample(scale_factor=2), convolution(2 * w, w), convolution(w, w // 2),
        SameConvolution(w // 2, 3), nn.Hardtanh(),
    )  # fmt: skip


class Refinement(nn.Module):
    """x [N,5,R,R], known [N,1,R,R], positions [N,K] or none -> [N,3,R,R]. `middle` stands in the attentive branch."""

    def __init__(
        self, width: int, dilated_branch: nn.Module, attentive_branch: nn.Module, middle: Middle, activation: nn.Module
    ) -> None:
        super().__init__()
        self.dilated = nn.Sequential(dilated_branch, *dilated(width))
        self.attentive, self.middle, self.activation = attentive_branch, middle, activation
        self.after = nn.Sequential(*(convolution(4 * width, 4 * width) for _ in range(2)))
        self.decoder = decoder(8 * width, width)

    def forward(self, x: Tensor, known: Tensor, positions: Tensor | None) -> Tensor:
        attended = self.activation(self.middle(self.attentive(x), known, positions))
        return self.decoder(torch.cat([self.dilated(x), self.after(attended)], dim=1))


def with_contextual_attention(config: TwoStageConfig) -> Refinement:
    """Of CA: narrower branches, the attention after a ReLU."""
    w = config.width
    middle = ContextualAttention(config.as_released)
    return Refinement(w, encoder(w, w, 2 * w, nn.ELU()), encoder(w, w, 4 * w, nn.ReLU()), middle, nn.Identity())


def with_attentive_normalization(config: TwoStageConfig) -> Refinement:
    """Of AN: the coarse network's branches; a linear convolution, the normalisation, an ELU."""
    w = config.width
    middle = AttentiveNormalization(4 * w, config.num_regions, config.as_released)
    return Refinement(w, encoder(w, 2 * w, 4 * w, nn.ELU()), encoder(w, 2 * w, 4 * w, None), middle, nn.ELU())


REFINEMENTS: dict[str, Callable[[TwoStageConfig], Refinement]] = {
    "contextual_attention": with_contextual_attention,
    "attentive_normalization": with_attentive_normalization,
}


class TwoStageGenerator(nn.Module):
    """images [N,3,R,R], known [N,1,R,R] -> TwoStageOutput. It sees nothing of the images where they are not known.

    positions [N,num_positions] in 0..1 are random ones of the refinement, where it has some; none: it draws none.
    """

    def __init__(self, config: TwoStageConfig) -> None:
        super().__init__()
        self.config, w = config, config.width
        self.coarse = nn.Sequential(encoder(w, 2 * w, 4 * w, nn.ELU()), *dilated(w), decoder(4 * w, w))
        self.refinement = REFINEMENTS[config.refinement](config)

    @property
    def num_positions(self) -> int:
        """Random numbers that the loss of a sample needs."""
        return self.refinement.middle.num_positions

    @property
    def draws_completions(self) -> bool:
        """Whether completions of one hole differ by seed: of the normalisation as released, which draws in tests, too."""
        return self.config.as_released and self.num_positions > 0

    def forward(self, images: Tensor, known: Tensor, positions: Tensor | None = None) -> TwoStageOutput:
        hole = 1 - known
        mask = torch.cat([torch.ones_like(hole), hole], dim=1)
        coarse = self.coarse(torch.cat([images * known, mask], dim=1))
        pasted = torch.where(known > 0.5, images, coarse.to(images.dtype))
        refined = self.refinement(torch.cat([pasted, mask], dim=1), known, positions)
        # A choice, not a product with the mask: known pixels keep all of their bits.
        composite = torch.where(known > 0.5, images, refined.to(images.dtype))
        return TwoStageOutput(composite, coarse, refined, self.refinement.middle.penalty())

    def complete(self, images: Tensor, known: Tensor, seeds: Sequence[int], truncation_psi: float = 1.0) -> Tensor:
        """Completions [N,3,R,R], sample n drawn by seeds[n] where `draws_completions`. InputError for a truncation."""
        if truncation_psi != 1.0:
            raise InputError(f"truncation must be 1 for a model without latents, got {truncation_psi}")
        if not self.draws_completions:
            return self(images, known).images
        sources = [torch.Generator().manual_seed(seed) for seed in seeds]
        positions = torch.stack([torch.rand(self.num_positions, generator=source) for source in sources])
        return self(images, known, positions.to(images)).images
