"""What metrics ask of a feature network, and the one place where names of metrics come from."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sarigan.errors import InputError
from sarigan.models.feature_networks.preprocessing import TF, Preprocessing

CPU_CHUNK = 8  # images at a time on a CPU: more leave its caches, and the time goes into memory


class Features(NamedTuple):
    """What a network says of N images."""

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


# Names that belong to published weights: `<metric name>` there, `<name in other features>_<network>` elsewhere.
_NAMES = {"fid": ("inception", "fd"), "kid": ("inception", "kid"), "inception_score": ("inception", "classifier_score"),
          "precision": ("vgg16", "precision"), "recall": ("vgg16", "recall")}  # fmt: skip


def metric_name(metric: str, network: FeatureNetwork) -> str:
    """`fid` of the published Inception weights, `fd_<network>` of all others; likewise the other metrics."""
    owner, name_elsewhere = _NAMES[metric]
    return metric if network.name == owner else f"{name_elsewhere}_{network.name}"
