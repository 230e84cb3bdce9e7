"""What a trained pyramid makes: random samples of any size, super-resolution, images through its finer scales, animations.

Shaham et al. 2019, SinGAN, sections 2.2, 4 and their supplement. Images are [N,3,H,W] in about -1..1.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ops.host_memory import available_and_total_bytes
from sarigan.data.picture import resized
from sarigan.errors import InputError
from sarigan.seeding import derive_seed
from sarigan.systems.single_image.draws import noise_maps
from sarigan.systems.single_image.generator import PyramidGenerator
from sarigan.systems.single_image.pyramid import Size

MAX_PIXELS = 2**24  # of an image
MAPS_AT_ONCE = 4  # of features, while a layer is computed
STEP_FACTOR = 2 ** (1 / 3)  # of a step of super-resolution, about
MAX_FACTOR = 64.0


def num_scales(generator: PyramidGenerator) -> int:
    """Scales that are trained or in training."""
    return int(generator.num_begun)


def check_start(generator: PyramidGenerator, start: int, lowest: int = 0) -> None:
    """InputError when there is no such scale."""
    if not lowest <= start < num_scales(generator):
        raise InputError(f"--start-scale must be {lowest} to {num_scales(generator) - 1} (the finest), got {start}")


def check_pixels(size: Size, option: str) -> None:
    """InputError for an image that is larger than memory is likely to hold, or empty."""
    if min(size) < 1 or size[0] * size[1] > MAX_PIXELS:
        raise InputError(f"{option} must be from 1x1 to {MAX_PIXELS:,} pixels in all (4096x4096), got {size[1]}x{size[0]}")


def check_memory(generator: PyramidGenerator, size: Size) -> None:
    """InputError when the features of the finest scale would not fit into the memory of this machine; for a CPU."""
    found = available_and_total_bytes()
    if not generator.picture.is_cpu or found is None:
        return
    margin, width = 2 * generator.margin, generator.config.width(num_scales(generator) - 1)
    number_size = generator.picture.element_size()
    needed = MAPS_AT_ONCE * number_size * width * (size[0] + margin) * (size[1] + margin)
    if needed > found[0]:
        raise InputError(
            f"an image of {size[1]}x{size[0]} px takes about {needed / 2**30:.1f} GiB with {width} channels,"
            f" {found[0] / 2**30:.1f} GiB are available; ask for a smaller one"
        )


def sizes_for(generator: PyramidGenerator, size: Size | None) -> list[Size]:
    """The sizes of all scales for an image of another size than the picture's: each side in the ratio of the finest scale."""
    count = num_scales(generator)
    sizes = generator.sizes[:count]
    if size is None:
        return sizes
    ratio_h, ratio_w = size[0] / sizes[-1][0], size[1] / sizes[-1][1]
    scaled = [(max(1, round(height * ratio_h)), max(1, round(width * ratio_w))) for height, width in sizes]
    return [*scaled[:-1], size]


def like(generator: PyramidGenerator, noises: list[Tensor]) -> list[Tensor]:
    """On the generator's device, in its type."""
    return [noise.to(generator.picture) for noise in noises]


def random_noises(generator: PyramidGenerator, seed: int, size: Size | None = None, start: int = 0) -> list[Tensor]:
    """Noise maps of scales start .. finest, for an image of `size`."""
    random = torch.Generator().manual_seed(derive_seed("single image", seed, start))
    sizes = [generator.noise_size(size) for size in sizes_for(generator, size)[start:]]
    return like(generator, noise_maps(sizes, random, start))


def random_sample(generator: PyramidGenerator, seed: int, size: Size | None = None, start: int = 0) -> Tensor:
    """A random image of `size`; scales below `start` make the picture's own layout, stretched to that size."""
    check_start(generator, start)
    check_memory(generator, size or generator.sizes[-1])
    below = generator.reconstruction(start - 1) if start else None
    return generator.evaluated(random_noises(generator, seed, size, start), below, start)


def injected(generator: PyramidGenerator, image: Tensor, start: int, seed: int) -> Tensor:
    """`image`, shrunk to the scale before `start`, through scales start .. finest: paint, edits and composites."""
    check_start(generator, start, lowest=1)
    coarse = resized(image.to(generator.picture), generator.sizes[start - 1])
    return generator.evaluated(random_noises(generator, seed, None, start), coarse, start)


def super_resolved(generator: PyramidGenerator, image: Tensor, factor: float, seed: int) -> Tensor:
    """`image` enlarged in steps of about 2^(1/3), each followed by the finest generator: [1,3,H*factor,W*factor]."""
    if not 1 < factor <= MAX_FACTOR:
        raise InputError(f"--factor must be above 1 and at most {MAX_FACTOR:g}, got {factor:g}")
    height, width = image.shape[-2:]
    finest = num_scales(generator) - 1
    check_pixels((round(height * factor), round(width * factor)), "height and width times --factor")
    check_memory(generator, (round(height * factor), round(width * factor)))
    num_steps = max(1, round(math.log(factor) / math.log(STEP_FACTOR)))
    random = torch.Generator().manual_seed(derive_seed("super-resolution", seed))
    image = image.to(generator.picture)
    for step in range(1, num_steps + 1):
        scale = factor ** (step / num_steps)
        noise_size = generator.noise_size((round(height * scale), round(width * scale)))
        image = generator.evaluated(like(generator, noise_maps([noise_size], random, max(1, finest))), image, finest)
    return image


def animation(
    generator: PyramidGenerator, num_frames: int, start: int, alpha: float, beta: float, seed: int
) -> Iterator[Tensor]:
    """A walk of the noise of scales start .. finest around z*; a frame [1,3,H,W] at a time.

    z(t+1) = alpha z* + (1 - alpha) (z(t) + beta (z(t) - z(t-1)) + (1 - beta) u(t)), u ~ N(0,1); z(0) = z*, and
    z(1) = 0.95 z* + 0.05 u. alpha: how near to the picture; beta: how smooth.
    """
    check_start(generator, start)
    home = generator.reconstruction_noises(start, num_scales(generator))
    below = generator.reconstruction(start - 1) if start else None
    random = torch.Generator().manual_seed(derive_seed("animation", seed))
    sizes = [(noise.shape[-2], noise.shape[-1]) for noise in home]

    def drawn() -> list[Tensor]:
        return like(generator, noise_maps(sizes, random, start))

    before, now = home, [0.95 * z + 0.05 * u for z, u in zip(home, drawn(), strict=True)]
    for _ in range(num_frames):
        yield generator.evaluated(now, below, start)
        walked = [
            alpha * z + (1 - alpha) * (b + beta * (b - a) + (1 - beta) * u)
            for z, a, b, u in zip(home, before, now, drawn(), strict=True)
        ]
        before, now = now, walked
