"""Perceptual distances of two images: LPIPS (Zhang et al. 2018), ST-LPIPS (Ghildyal & Liu 2022), and EfficientNet's.

All are sum over layers of mean over positions of ||v * (a/|a| - b/|b|)||^2, a and b the activations; v is learned in
LPIPS and ST-LPIPS, and 1 in the other. Gradients reach the images. Path length, projection and inpainting use them.
"""

from abc import ABC, abstractmethod
from pathlib import Path

import torch
from torch import Tensor, nn

from sarigan.errors import InputError
from sarigan.models.feature_networks import vgg16
from sarigan.models.feature_networks.efficientnet import EfficientNet
from sarigan.models.feature_networks.published_file import PackagedFile, PublishedFile, file_sha256
from sarigan.models.feature_networks.shift_tolerant import TRUNKS, ShiftTolerantMaps, Trunk

_SHA256 = "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868"
LPIPS_WEIGHTS = PublishedFile(
    title="LPIPS's linear layers for VGG16",
    file_names=("weights-vgg16-lpips.pth",),
    url="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-vgg16-lpips.pth",
    sha256=_SHA256,
    variable="SARIGAN_LPIPS",
    instead="without it, distances are EfficientNet's and named so",
    package=PackagedFile("LPIPS", "lpips==0.1.4", "lpips", "weights/v0.1/vgg.pth", _SHA256),  # the authors' own
)
_EPSILON = 1e-10
_SMALLEST = 1e-30  # of a squared length: the root of 0 has no derivative, and a position may be without any activity


class PerceptualDistance(nn.Module, ABC):
    """distance(images_a, images_b): float [N,3,H,W] in -1..1 each -> [N]. Frozen; gradients flow to the images.

    A metric made of it has `suffix` in its name: "" for LPIPS, "_efficientnet", "_stlpips_alex", ... for others.
    """

    name: str
    suffix: str
    sha256: str  # of the files of weights, joined by + where there are two

    def forward(self, images_a: Tensor, images_b: Tensor) -> Tensor:
        if images_a.shape != images_b.shape or images_a.ndim != 4 or images_a.shape[1] != 3:
            shapes = f"{tuple(images_a.shape)} and {tuple(images_b.shape)}"
            raise InputError(f"two sets of images must have one shape (N, 3, H, W), got {shapes}")
        # One pass over both: half the launches.
        layers = self.activations(torch.cat([images_a, images_b]).contiguous(memory_format=torch.channels_last))
        total = images_a.new_zeros(images_a.shape[0])
        for x, weight in zip(layers, self.weights(), strict=True):
            length = x.square().sum(dim=1, keepdim=True).clamp_min(_SMALLEST).sqrt()
            a, b = (x / (length + _EPSILON)).chunk(2)
            total = total + ((a - b).square() * weight).sum(dim=1).mean(dim=(1, 2))
        return total

    @abstractmethod
    def activations(self, images: Tensor) -> list[Tensor]:
        """[N,3,H,W] in -1..1 -> the layers that are compared."""

    @abstractmethod
    def weights(self) -> list[Tensor]:
        """v^2 of every layer [1,C,1,1]."""


class _LearnedDistance(PerceptualDistance):
    """`maps` gives the five layers; linear layers without bias, one number a channel, are v^2."""

    maps: nn.Module

    def _keep(self, maps: nn.Module, state: dict[str, Tensor]) -> None:
        self.maps = maps
        for index in range(5):
            self.register_buffer(f"weight{index}", state[f"lin{index}.model.1.weight"].clone())
        self.eval().requires_grad_(False)

    def activations(self, images: Tensor) -> list[Tensor]:
        maps: list[Tensor] = self.maps(images)
        return maps

    def weights(self) -> list[Tensor]:
        return [getattr(self, f"weight{index}") for index in range(5)]


class Lpips(_LearnedDistance):
    """LPIPS of VGG16, version 0.1: relu1_2, 2_2, 3_3, 4_3, 5_3."""

    name, suffix = "lpips", ""

    def __init__(self, vgg16_path: Path, lpips_path: Path) -> None:
        super().__init__()
        self.sha256 = f"{file_sha256(vgg16_path)}+{file_sha256(lpips_path)}"
        maps = vgg16.Vgg16Maps(vgg16_path, (4, 9, 16, 23, 30))
        self._keep(maps, torch.load(lpips_path, map_location="cpu", weights_only=True))


class ShiftTolerantLpips(_LearnedDistance):
    """ST-LPIPS of one of the TRUNKS, with the weights of a file in its authors' format."""

    def __init__(self, name: str, trunk: Trunk, path: Path) -> None:
        super().__init__()
        self.name, self.suffix, self.sha256 = name, f"_{name}", file_sha256(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
        self._keep(ShiftTolerantMaps(state, trunk), state)


class EfficientNetDistance(PerceptualDistance):
    """The last layer of each of EfficientNet-Lite0's five scales, every channel counting the same."""

    name, suffix = "efficientnet_distance", "_efficientnet"

    def __init__(self) -> None:
        super().__init__()
        self.network = EfficientNet()
        self.sha256 = self.network.sha256

    def activations(self, images: Tensor) -> list[Tensor]:
        pixels = images * 127.5 + 127.5
        return self.network.activations((pixels - self.network.center[0]) / self.network.spread[0])

    def weights(self) -> list[Tensor]:
        one = torch.ones(1, 1, 1, 1, device=self.network.stem.weight.device)
        return [one] * 5


# `auto`: LPIPS where both of its files are on this machine (none is downloaded), else EfficientNet's.
DISTANCES = ("auto", "lpips", *(f"stlpips_{name}" for name in TRUNKS), "efficientnet")


def open_perceptual_distance(device: torch.device | str = "cpu", name: str = "auto") -> PerceptualDistance:
    """One of DISTANCES. InputError for another name, and for weights that are missing or wrong."""
    if name not in DISTANCES:
        raise InputError(f"the perceptual distance must be one of {', '.join(DISTANCES)}, got {name!r}")
    if name.startswith("stlpips_"):
        trunk = TRUNKS[name.removeprefix("stlpips_")]
        return ShiftTolerantLpips(name, trunk, trunk.file.require()).to(device)
    if name == "lpips":
        linear = LPIPS_WEIGHTS.fetch()  # first: the other file has 528 MB
        return Lpips(vgg16.WEIGHTS.fetch(), linear).to(device)
    vgg16_path, lpips_path = (vgg16.WEIGHTS.find(), LPIPS_WEIGHTS.find()) if name == "auto" else (None, None)
    if vgg16_path is not None and lpips_path is not None:
        return Lpips(vgg16_path, lpips_path).to(device)
    return EfficientNetDistance().to(device)
