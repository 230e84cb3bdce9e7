"""Fixtures of the metrics' tests."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sarigan.data.loader import ImageDataset
from sarigan.diagnosis.metrics_benchmark import write_random_inception
from sarigan.metrics.evaluation import Evaluation, EvaluationConfig
from sarigan.metrics.statistics_cache import StatisticsCache
from sarigan.models.feature_networks.feature_network import FeatureNetwork, Features


class Images:
    """Images uint8 [3,R,R] given as an array [N,3,R,R]."""

    def __init__(self, images: np.ndarray) -> None:
        self.images, self.resolution = images, images.shape[-1]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.images[index]

    def describe(self) -> str:
        return "test images"


class SmallNetwork(FeatureNetwork):
    """Five fixed random features of an image, and seven logits; counts the images that it sees."""

    dimension, num_classes, input_size, center, spread = 5, 7, 8, (128.0,), (64.0,)

    def __init__(self, name: str = "small") -> None:
        super().__init__(name, "0" * 64)
        source = torch.Generator().manual_seed(0)
        self.projection = nn.Parameter(torch.randn(3 * 8 * 8, 12, generator=source) / 14, requires_grad=False)
        self.seen = 0

    def extract(self, x: Tensor) -> Features:
        self.seen += len(x)
        # Rounded once, at the end, so that the sums of another batch size give the same float32.
        features, logits = (x.double().flatten(start_dim=1) @ self.projection.double()).tanh().float().split([5, 7], dim=1)
        return Features(features, logits)


@pytest.fixture(scope="session")
def smooth_images() -> Callable[..., np.ndarray]:
    """smooth_images(count, resolution, seed): random smooth pictures uint8 [N,3,R,R]."""

    def draw(count: int, resolution: int, seed: int = 0) -> np.ndarray:
        source = torch.Generator().manual_seed(seed)
        coarse = torch.rand(count, 3, 5, 5, generator=source) * 255
        fine = nn.functional.interpolate(coarse, (resolution, resolution), mode="bicubic") + 20 * seed
        return fine.clamp(0, 255).to(torch.uint8).numpy()

    return draw


@pytest.fixture(scope="session")
def inception_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in torch-fidelity's format."""
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    write_random_inception(path)
    return path


@pytest.fixture
def small_network() -> SmallNetwork:
    """A network that takes no time."""
    return SmallNetwork()


@pytest.fixture
def evaluation_of(small_network: SmallNetwork) -> Callable[..., Evaluation]:
    """evaluation_of(data, images, cache folder, **config): with the small network as `efficientnet`."""

    def build(data: ImageDataset, images: ImageDataset, cache: Path | None = None, **config: object) -> Evaluation:
        return Evaluation(
            EvaluationConfig(**config),  # type: ignore[arg-type]
            torch.device("cpu"), images=images, data=data, cache=StatisticsCache(cache),
            networks={"efficientnet": small_network},
        )  # fmt: skip

    return build


@pytest.fixture(scope="session")
def as_dataset() -> type[Images]:
    """as_dataset(array): images as a data set."""
    return Images
