"""One process of test_semantic_ranks.py: python semantic_rank_worker.py OUTPUT OVERRIDES; the launcher's variables are set."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sarigan import distributed
from sarigan.config import load_config
from sarigan.metrics.groups.premise import PremiseConfig, premise_test
from sarigan.metrics.information import InformationConfig, information
from sarigan.metrics.linear_separability import SeparabilityConfig, linear_separability
from sarigan.metrics.perceptual_path_length import PathLengthConfig, perceptual_path_length
from sarigan.models.discriminator import Discriminator
from sarigan.models.generator import Generator


class SquaredDistance:
    """Mean squared difference."""

    name, suffix = "squared", "_squared"

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        return (a - b).square().mean(dim=(1, 2, 3))


class Planes:
    """Three attributes of an image: on which side of a plane its pixels lie."""

    names = ["a", "b", "c"]

    def __call__(self, images: Tensor) -> Tensor:
        source = torch.Generator().manual_seed(0)
        pixels = images.flatten(start_dim=1)
        return pixels @ torch.randn(pixels.shape[1], 3, generator=source, dtype=pixels.dtype)


def main(output: Path, overrides: list[str]) -> None:
    """Every semantic metric of a small random generator in float64; the main process writes them."""
    torch.set_num_threads(1)
    with distributed.rank_main(), distributed.process_group(torch.device("cpu")):
        torch.manual_seed(0)
        config = load_config(None, overrides)
        generator = Generator(config.generator).double().eval()
        discriminator = Discriminator(config.discriminator, config.generator.resolution, generator.config.w_dim).double()
        lengths = perceptual_path_length(generator, SquaredDistance(), PathLengthConfig(num_samples=50, batch_size=8))
        spaces = linear_separability(generator, [Planes()], SeparabilityConfig(num_images=640, batch_size=50))
        found: dict[str, Any] = {
            "lengths": asdict(lengths),
            "separability": {name: space.as_dict() for name, space in spaces.items()},
            "information": asdict(information(generator, discriminator, "w", InformationConfig(96))),
            "premise": {name: asdict(v) for name, v in premise_test(generator, PremiseConfig(20, 10, 6)).items()},
        }
        if distributed.is_main():
            output.write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
