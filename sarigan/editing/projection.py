"""Find what makes a given image: w, then w of every layer, then the codes of every group (Karras et al. 2020, sec. 5).

The loss is a perceptual distance plus a weighted mean squared error of pixels. Noise is fixed. w starts at its mean; the
normal noise added to it, scaled by the spread of w, fades out over the first three quarters.
Legend: L latents, D w_dim, R resolution.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from sarigan.errors import InputError
from sarigan.layers.intervention import Intervention, group_code
from sarigan.models.generator import Generator
from sarigan.progress import progress_bar

STAGES = {"w": ("w",), "w+": ("w", "w+"), "codes": ("w", "w+", "codes")}
Distance = Callable[[Tensor, Tensor], Tensor]  # images [1,3,S,S] twice, in -1..1 -> [1]
SPACES = tuple(STAGES)
Watch = Callable[[int, int], None]  # (steps done, steps of all stages); what it raises ends the search


@dataclass(frozen=True)
class ProjectionConfig:
    """space: one w, `w+` one a layer, `codes` also z_i and h_i of all groups; each starts where the one before ended."""

    space: str = "w"
    num_steps: int = 300  # in each space
    learning_rate: float = 0.05
    latent_noise: float = 0.05  # at the start, in standard deviations of w
    pixel_weight: float = 1.0
    min_distance_size: int = 128  # smaller images are enlarged for the perceptual distance, whose layers halve the size

    def __post_init__(self) -> None:
        if self.space not in SPACES:
            raise InputError(f"--space must be one of {', '.join(SPACES)}, got {self.space!r}")
        if self.num_steps < 1:
            raise InputError(f"--steps must be at least 1, got {self.num_steps}")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise InputError(f"--learning-rate must be positive, got {self.learning_rate}")
        if not (math.isfinite(self.pixel_weight) and self.pixel_weight >= 0):
            raise InputError(f"--pixel-weight must be a finite number and not negative, got {self.pixel_weight}")


@dataclass
class Projection:
    """What was found, and the way there."""

    latents: Tensor  # [1,L,D]
    edits: list[Intervention]  # codes of groups; empty but in space `codes`
    image: Tensor  # [1,3,R,R]
    progress: list[tuple[str, Tensor]] = field(default_factory=list)  # (stage and step, image [1,3,R,R])
    losses: list[float] = field(default_factory=list)


def project(
    generator: Generator, target: Tensor, distance: Distance, config: ProjectionConfig, show_progress: bool = False,
    watch: Watch = lambda done, total: None,
) -> Projection:  # fmt: skip
    """Latents (and codes) whose image is nearest to target [1,3,R,R] in -1..1. InputError for `codes` without groups.

    watch is called before every step.
    """
    num_groups = generator.synthesis.num_groups()
    if config.space == "codes" and not num_groups:
        raise InputError("this generator has no groups (generator.grouping.kind=none): project into w or w+")
    spread = _latent_spread(generator)
    w = generator.mean_latent.clone()[None]
    search = _Search(generator, target, distance, config, show_progress, watch)
    w = w.requires_grad_(True)
    search.run("w", [w], lambda noise: (_everywhere(generator, w + noise * spread), []))
    latents = _everywhere(generator, w.detach())
    edits: list[Intervention] = []
    if config.space in ("w+", "codes"):
        latents = latents.clone().requires_grad_(True)
        search.run("w+", [latents], lambda noise: (latents, []))
        latents = latents.detach()
    if config.space == "codes":
        with torch.no_grad():
            found = generator.synthesis.layer_codes(latents)
        places = [(layer, group, code) for layer in num_groups for group in range(num_groups[layer]) for code in ("z", "h")]
        values = [group_code(found[layer], group, code)[0].clone().requires_grad_(True) for layer, group, code in places]
        kept = [(place, value) for place, value in zip(places, values, strict=True) if value.numel()]

        def edits_now() -> list[Intervention]:
            return [Intervention(*place, "move", 1.0, value) for place, value in kept]

        search.run("codes", [value for _, value in kept], lambda noise: (latents, edits_now()))
        edits = [Intervention(*place, "move", 1.0, value.detach()) for place, value in kept]
    with torch.no_grad():
        image = generator.synthesize(latents, "fixed", edits).images
    return Projection(latents, edits, image, search.progress, search.losses)


class _Search:
    """Adam over some tensors; keeps images along the way."""

    def __init__(
        self, generator: Generator, target: Tensor, distance: Distance, config: ProjectionConfig, show_progress: bool,
        watch: Watch,
    ) -> None:  # fmt: skip
        self.generator, self.target, self.distance, self.config = generator, target, distance, config
        self.show_progress, self.watch = show_progress, watch
        self.progress: list[tuple[str, Tensor]] = []
        self.losses: list[float] = []

    def run(self, stage: str, variables: list[Tensor], build: Callable[[Tensor], tuple[Tensor, list[Intervention]]]) -> None:
        """build: noise [1,D] in standard deviations -> latents [1,L,D] and edits."""
        config = self.config
        optimizer = torch.optim.Adam(variables, lr=config.learning_rate, betas=(0.9, 0.99))
        shown = {0, config.num_steps // 8, config.num_steps // 3, config.num_steps - 1}
        noise_source = torch.Generator().manual_seed(0)
        title, hidden = f"projecting into {stage}", not self.show_progress
        steps = progress_bar(range(config.num_steps), desc=title, unit="step", disable=hidden)
        for step in steps:
            self.watch(len(self.losses), len(STAGES[config.space]) * config.num_steps)
            done = step / config.num_steps
            # Up over the first twentieth, down over the last quarter.
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * min(1.0, (1 - done) / 0.25, (done + 1 / config.num_steps) / 0.05)
            amount = config.latent_noise * max(0.0, 1 - done / 0.75) ** 2
            noise = amount * torch.randn(1, self.generator.config.w_dim, generator=noise_source).to(self.target)
            latents, edits = build(noise)
            images = self.generator.synthesize(latents, "fixed", edits).images
            loss = self._loss(images)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            self.losses.append(float(loss.detach()))
            if step in shown:
                self.progress.append((f"{stage} {step}", images.detach()))
                steps.set_postfix(loss=f"{self.losses[-1]:.4f}")

    def _loss(self, images: Tensor) -> Tensor:
        pixels = F.mse_loss(images, self.target)
        size = self.config.min_distance_size
        a, b = images, self.target
        if images.shape[-1] < size:
            a, b = (F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False) for x in (a, b))
        return self.distance(a, b).mean() + self.config.pixel_weight * pixels


def _everywhere(generator: Generator, w: Tensor) -> Tensor:
    """[1,D] -> [1,L,D]."""
    return w[:, None].expand(-1, generator.num_latents, -1)


@torch.no_grad()
def _latent_spread(generator: Generator, num_samples: int = 1000) -> Tensor:
    """Standard deviation of w [1,D]."""
    source = torch.Generator().manual_seed(0)
    z = torch.randn(num_samples, generator.config.z_dim, generator=source).to(generator.mean_latent)
    return generator.mapping(z, generator.draw_labels(num_samples, 0)).std(dim=0, keepdim=True)
