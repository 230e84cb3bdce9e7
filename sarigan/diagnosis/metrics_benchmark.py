"""Speed of the FID pipeline (read, resize, InceptionV3, moments, distance) beside torch-fidelity's, on the same images.

Both use the same random weights in the published format, which take as long as the published ones. Their distances are printed
and must agree.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import torch_fidelity
from torch import Tensor
from torch.utils.data import Dataset
from torch_fidelity import feature_extractor_inceptionv3 as reference

from sarigan.data.avatars.dataset import AvatarDataset
from sarigan.metrics.catalogue import full_precision
from sarigan.metrics.feature_statistics import DatasetImages, FeatureRequest, collect
from sarigan.metrics.frechet import frechet_distance
from sarigan.models.feature_networks.feature_network import TF, FeatureNetwork
from sarigan.models.feature_networks.inception import InceptionV3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `scripts/benchmark.py metrics`."""
    parser.add_argument("--num-images", type=int, default=128, help="of each of the two sets")
    parser.add_argument("--resolution", type=int, default=128, help="32, 64, 128 or 256")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3, help="the fastest counts; the two alternate")


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Seconds from two sets of images to their distance, weights loaded before."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    sets = [_InMemory(options.resolution, options.num_images, seed) for seed in (0, 1)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "inception.pth"
        write_random_inception(path)
        network = InceptionV3(path, sha256=None).to(device)
        programs: dict[str, Callable[[], float]] = {
            "sarigan": lambda: _distance(network, sets, options.batch_size, device),
            "torch-fidelity": lambda: reference_metrics(
                path, sets[0], sets[1], batch_size=options.batch_size, cuda=device.type == "cuda", fid=True
            )["frechet_inception_distance"],
        }
        seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in programs}
        distances = {}
        for _ in range(options.repeats):
            for name, program in programs.items():
                start, start_cpu = time.perf_counter(), time.process_time()
                distances[name] = program()
                seconds[name].append((time.perf_counter() - start, time.process_time() - start_cpu))
    return [
        {
            "program": name,
            "images": 2 * options.num_images,
            "resolution": options.resolution,
            "seconds": round(min(wall for wall, _ in times), 2),
            "CPU seconds": round(min(cpu for _, cpu in times), 2),  # where others load the machine, the fairer figure
            "images/s": round(2 * options.num_images / min(wall for wall, _ in times), 2),
            "distance": f"{distances[name]:.6g}",
        }
        for name, times in seconds.items()
    ]


def _distance(network: InceptionV3, sets: "list[_InMemory]", batch_size: int, device: torch.device) -> float:
    request: dict[FeatureNetwork, FeatureRequest] = {network: FeatureRequest(network.name)}
    with full_precision(device):
        a, b = (collect(DatasetImages(x), request, TF, batch_size, device)[network].moments for x in sets)
    return frechet_distance(a, b)


class _InMemory(Dataset):
    """Avatars, drawn beforehand: uint8 tensors for torch-fidelity, arrays for us."""

    def __init__(self, resolution: int, num_images: int, seed: int) -> None:
        drawn = AvatarDataset(resolution, num_images, seed)
        self.resolution = resolution
        self.images = np.stack([drawn[index] for index in range(num_images)])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.images[index]

    def describe(self) -> str:
        return f"{len(self)} avatars in memory"


class _Tensors(Dataset):
    def __init__(self, images: Any) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(self.images[index]))


def reference_metrics(weights: Path, generated: Any, real: Any, **options: Any) -> dict[str, float]:
    """torch-fidelity's own metrics of two sequences of uint8 arrays [3,R,R]."""
    return torch_fidelity.calculate_metrics(
        input1=_Tensors(generated), input2=_Tensors(real), feature_extractor_weights_path=str(weights), cache=False,
        verbose=False, save_cpu_ram=True, **{"cuda": False, **options},
    )  # fmt: skip


def write_random_inception(path: Path, seed: int = 0) -> None:
    """InceptionV3 in torch-fidelity's format with random weights, every layer's output scaled to unit variance."""
    with (
        mock.patch.object(reference, "load_state_dict_from_url", return_value={}),
        mock.patch.object(reference.FeatureExtractorInceptionV3, "load_state_dict"),
    ):
        network = reference.FeatureExtractorInceptionV3("inception", ["logits"])
    source = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        if parameter.ndim > 1:
            fan_in = parameter[0].numel()
            parameter.data = torch.randn(parameter.shape, generator=source) * (2 / fan_in) ** 0.5
        elif name.endswith("bias"):
            parameter.data = torch.randn(parameter.shape, generator=source) * 0.1
    # Batch normalisation in its training mode takes the statistics of smooth random images.
    coarse = torch.rand(4, 3, 6, 6, generator=source) * 255
    images = torch.nn.functional.interpolate(coarse, (299, 299), mode="bicubic").clamp(0, 255).to(torch.uint8)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.train()
            module.momentum = 1.0
    with torch.no_grad():
        network(images)
    torch.save(network.eval().state_dict(), path)
