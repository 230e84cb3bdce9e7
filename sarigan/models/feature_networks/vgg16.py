"""VGG16 (Simonyan & Zisserman 2014) trained on ImageNet: features of precision and recall, and what LPIPS is made of.

The definition and the weights are torchvision's.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import VGG, vgg16

from sarigan.models.feature_networks.feature_network import FeatureNetwork, Features
from sarigan.models.feature_networks.published_file import PublishedFile, file_sha256

# The hash agrees with the eight digits that the file's name carries.
WEIGHTS = PublishedFile(
    title="torchvision's VGG16 trained on ImageNet",
    file_names=("vgg16-397923af.pth",),
    url="https://download.pytorch.org/models/vgg16-397923af.pth",
    sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    variable="SARIGAN_VGG16",
    instead="without it, precision, recall and distances of images run in EfficientNet's features and are named so",
)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet in 0..1


class Vgg16(FeatureNetwork):
    """Features: the 4096 activations of the second fully connected layer, after its ReLU."""

    dimension = 4096
    input_size = 224
    center = tuple(255 * m for m in MEAN)
    spread = tuple(255 * s for s in STD)

    def __init__(self, path: Path, sha256: str = WEIGHTS.sha256) -> None:
        found = file_sha256(path)
        if sha256 == WEIGHTS.sha256:
            WEIGHTS.check(path)
        super().__init__("vgg16" if found == WEIGHTS.sha256 else f"vgg16-{found[:8]}", found)
        network = load_vgg16(path)
        self.convolutions = network.features.to(memory_format=torch.channels_last)
        self.pool = network.avgpool
        self.classifier = nn.Sequential(*list(network.classifier.children())[:5])
        self.eval().requires_grad_(False)

    def extract(self, x: Tensor) -> Features:
        """From float32 [N,3,224,224]."""
        return Features(self.classifier(self.pool(self.convolutions(x)).flatten(start_dim=1)), None)


class Vgg16Maps(nn.Module):
    """The maps before the layers `ends` of VGG16's convolutional part: images [N,3,H,W] in -1..1 -> a list of [N,C,h,w]."""

    def __init__(self, path: Path, ends: Sequence[int]) -> None:
        super().__init__()
        # relu_: VGG's own ReLUs write into their input, whose gradient is still needed.
        layers = [nn.ReLU() if isinstance(x, nn.ReLU) else x for x in load_vgg16(path).features.children()]
        starts = (0, *ends[:-1])
        self.parts = nn.ModuleList(nn.Sequential(*layers[a:b]) for a, b in zip(starts, ends, strict=True))

    def forward(self, images: Tensor) -> list[Tensor]:
        mean, std = (torch.tensor(v, device=images.device).view(1, 3, 1, 1) for v in (MEAN, STD))
        x, kept = ((images + 1) / 2 - mean) / std, []
        for part in self.parts:
            x = part(x)
            kept.append(x)
        return kept


def load_vgg16(path: Path) -> VGG:
    """torchvision's network with the weights of a file in its format."""
    network: VGG = vgg16(weights=None)
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network
