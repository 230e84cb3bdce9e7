"""The interface of feature networks, the preparation of their images, and the names that their metrics get.

Three ways of preparing images are in use; distances under different ones are not comparable.

tf       8-bit images; bilinear resize as in TensorFlow 1 (corner-aligned grid, no antialiasing); (x - 128) / 128.
         The way of Heusel et al. 2017 (TTUR), of NVIDIA's code and of torch-fidelity. The default.
clean    8-bit images; antialiased bicubic resize as in PIL, not rounded; (x - 128) / 128. The way of Parmar et al. 2022
         (On Aliased Resizing and Surprising Subtleties in GAN Evaluation).
release  generated images as floats, neither clamped nor rounded; half-pixel bilinear resize without antialiasing;
         x / 127.5 - 1; real images mirrored at random. The way of SariGAN's released code.

The numbers (x - 128) / 128 are Inception's; other networks have their own, and `release` changes them in Inception alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sarigan.errors import InputError

CPU_CHUNK = 8  # images at a time on a CPU: more leave its caches, and the time goes into memory


@dataclass(frozen=True)
class Preprocessing:
    """A way of preparing images. resize: float [N,3,H,W], size S -> [N,3,S,S]."""

    name: str
    resize: Callable[[Tensor, int], Tensor]
    quantized: bool = True  # generated images are rounded to 8 bits first
    mirrors_real_images: bool = False

    def __call__(self, images: Tensor, size: int) -> Tensor:
        """uint8 [N,3,H,W], or float in -1..1 -> float32 [N,3,S,S] in 0..255 (floats: about)."""
        quantized = self.quantized or images.dtype == torch.uint8
        images = to_uint8(images).float() if quantized else images.float() * 127.5 + 127.5
        return images if images.shape[-2:] == (size, size) else self.resize(images, size)


def to_uint8(images: Tensor) -> Tensor:
    """Images [...,3,H,W] in -1..1 -> uint8, rounded and clamped; for files and for metrics. uint8 stays as it is."""
    if images.dtype == torch.uint8:
        return images
    return (images.detach().float() * 127.5 + 128).clamp(0, 255).to(torch.uint8)


def resize_tensorflow(images: Tensor, size: int) -> Tensor:
    """Output pixel i is at i * (in / out): bilinear, no half-pixel shift, no antialiasing. [N,3,H,W] -> [N,3,S,S]."""
    for dimension in (2, 3):
        low, high, weight = _grid(images.shape[dimension], size, images.device)
        weight = weight[:, None] if dimension == 2 else weight
        images = torch.lerp(images.index_select(dimension, low), images.index_select(dimension, high), weight)
    return images


@cache
def _grid(length: int, size: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    position = torch.arange(size, dtype=torch.float32) * torch.tensor(length / size, dtype=torch.float32)
    low = position.long()
    return low.to(device), (low + 1).clamp_max(length - 1).to(device), (position - low).to(device)


def resize_antialiased(images: Tensor, size: int) -> Tensor:
    """Bicubic with a = -0.5, widened when it shrinks, as in PIL; clamped to 0..255. [N,3,H,W] -> [N,3,S,S]."""
    return F.interpolate(images, (size, size), mode="bicubic", align_corners=False, antialias=True).clamp(0, 255)


def resize_half_pixel(images: Tensor, size: int) -> Tensor:
    """PyTorch's bilinear, no antialiasing. [N,3,H,W] -> [N,3,S,S]."""
    return F.interpolate(images, (size, size), mode="bilinear", align_corners=False)


TF = Preprocessing("tf", resize_tensorflow)
CLEAN = Preprocessing("clean", resize_antialiased)
RELEASE = Preprocessing("release", resize_half_pixel, quantized=False, mirrors_real_images=True)
PREPROCESSINGS = {mode.name: mode for mode in (TF, CLEAN, RELEASE)}


def preprocessing_named(name: str) -> Preprocessing:
    """One of PREPROCESSINGS; InputError for another name."""
    if name not in PREPROCESSINGS:
        raise InputError(f"preprocessing must be one of {', '.join(PREPROCESSINGS)}, got {name!r}")
    return PREPROCESSINGS[name]


class Features(NamedTuple):
    """The outputs of a network for N images."""

    features: Tensor  # float32 [N,D]
    logits: Tensor | None  # float32 [N,K] where there is a classifier


class FeatureNetwork(nn.Module, ABC):
    """A frozen network from images to features: uint8 [N,3,H,W], or float in -1..1, to `Features`.

    name says which weights these are: `inception` is reserved for the published ones, and only then `fid`, `kid`, ...
    name a metric; every other network's name is part of its metrics' names.
    """

    name: str
    sha256: str  # of its file of weights
    dimension: int  # D
    num_classes: int | None = None  # K
    input_size: int
    center: tuple[float, ...]  # the input is (x - center) / spread for x in 0..255, one a channel or one for all
    spread: tuple[float, ...]

    def __init__(self, name: str, sha256: str) -> None:
        super().__init__()
        self.name, self.sha256 = name, sha256

    @torch.inference_mode()
    def forward(self, images: Tensor, preprocessing: Preprocessing = TF) -> Features:
        if images.ndim != 4 or images.shape[1] != 3 or len(images) == 0:
            raise InputError(f"images must have shape (N, 3, H, W), got {tuple(images.shape)}")
        parts = [self._features(part, preprocessing) for part in images.split(CPU_CHUNK if images.is_cpu else len(images))]
        logits = [part.logits for part in parts if part.logits is not None]
        return Features(torch.cat([part.features for part in parts]), torch.cat(logits) if logits else None)

    def _features(self, images: Tensor, preprocessing: Preprocessing) -> Features:
        x = self.normalize(preprocessing(images, self.input_size), preprocessing)
        return self.extract(x.contiguous(memory_format=torch.channels_last))

    def normalize(self, x: Tensor, preprocessing: Preprocessing) -> Tensor:
        """[N,3,S,S] in 0..255 -> the scale of the network's training."""
        center, spread = (torch.tensor(v, device=x.device).view(1, -1, 1, 1) for v in (self.center, self.spread))
        return (x - center) / spread

    @abstractmethod
    def extract(self, x: Tensor) -> Features:
        """From the normalised input float32 [N,3,S,S]."""

    @torch.inference_mode()
    def local_features(self, images: Tensor) -> Tensor:
        """Of images rounded to 8 bits, in their own size: float32 [N,C,about H/4,about W/4]."""
        return self.extract_local(self.normalize(to_uint8(images).float(), TF))

    def extract_local(self, x: Tensor) -> Tensor:
        """From the normalised input [N,3,H,W]; InputError where a network has none."""
        raise InputError(f"{self.name} has no local features; inception and efficientnet have")


# Names that belong to published weights: `<metric name>` there, `<name in other features>_<network>` elsewhere.
_NAMES = {"fid": ("inception", "fd"), "class_fid": ("inception", "class_fd"), "kid": ("inception", "kid"),
          "sifid": ("inception", "single_image_fd"),
          "inception_score": ("inception", "classifier_score"),
          "class_kid": ("inception", "class_kid"),
          "precision": ("vgg16", "precision"), "recall": ("vgg16", "recall"),
          "class_precision": ("vgg16", "class_precision"), "class_recall": ("vgg16", "class_recall"),
          "density": ("vgg16", "density"), "coverage": ("vgg16", "coverage"),
          "sliced_wasserstein": ("", "sliced_wasserstein"),
          "p_ids": ("inception", "p_ids"), "u_ids": ("inception", "u_ids")}  # fmt: skip


def metric_name(metric: str, network: FeatureNetwork) -> str:
    """`fid` of the published Inception weights, `fd_<network>` of all others; likewise the other metrics."""
    owner, name_elsewhere = _NAMES[metric]
    return metric if network.name == owner else f"{name_elsewhere}_{network.name}"
