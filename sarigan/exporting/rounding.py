"""What rounding the weights to float16 does to the pictures."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sarigan.models.generator import Generator

NUM_IMAGES = 64
GREY_LEVELS = 127.5  # of 255 in one unit of the range -1..1


@dataclass(frozen=True)
class Rounding:
    """|difference| of pictures in grey levels of 255, over colours, pixels and images."""

    largest: float
    mean: float
    num_images: int
    same_groups: bool

    def __str__(self) -> str:
        groups = "every channel keeps its group" if self.same_groups else "some channels change their group"
        return (
            f"float16 in the file, float32 in memory: pictures differ from those of the trained weights by at most"
            f" {self.largest:.2f} and on average by {self.mean:.3f} grey levels of 255 ({self.num_images} images, fixed noise);"
            f" {groups}"
        )


@torch.no_grad()
def measure_rounding(
    generator: Generator, weights: dict[str, Tensor], num_images: int = NUM_IMAGES, batch_size: int = 8
) -> Rounding:
    """The difference that other weights (`half_weights`) make on the same latents and noise, images clamped to -1..1."""
    widened = {name: value.float() if value.dtype == torch.float16 else value for name, value in weights.items()}
    rounded = type(generator).from_weights(generator.config, widened, generator.mean_latent.device)
    source = torch.Generator().manual_seed(0)
    z = torch.randn(num_images, generator.config.z_dim, generator=source).to(generator.mean_latent)
    differences, same_groups = [], True
    labels = generator.draw_labels(num_images, 0)
    for start in range(0, num_images, batch_size):
        part = z[start : start + batch_size]
        label = None if labels is None else labels[start : start + batch_size]
        exact, near = (network(part.to(network.mean_latent), noise="fixed", labels=label) for network in (generator, rounded))
        images = (exact.images.clamp(-1, 1) - near.images.to(exact.images).clamp(-1, 1)).abs()
        differences.append(torch.stack([images.amax(), images.mean() * len(part)]))
        same_groups &= all(torch.equal(groups, near.groups[name]) for name, groups in exact.groups.items())
    largest, total = torch.stack(differences).unbind(dim=1)
    return Rounding(float(largest.max()) * GREY_LEVELS, float(total.sum()) / num_images * GREY_LEVELS, num_images, same_groups)
