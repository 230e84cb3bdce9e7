"""A feature network by name."""

from pathlib import Path

import torch

from sarigan.errors import InputError
from sarigan.models.feature_networks.efficientnet import EfficientNet
from sarigan.models.feature_networks.feature_network import FeatureNetwork
from sarigan.models.feature_networks.vgg16 import WEIGHTS as VGG16_WEIGHTS
from sarigan.models.feature_networks.vgg16 import Vgg16

NETWORKS = ("inception", "efficientnet", "vgg16")


def open_network(name: str, device: torch.device | str = "cpu", inception_weights: str | Path | None = None) -> FeatureNetwork:
    """One of NETWORKS, frozen, on a device. InputError for another name, or for weights that are missing or wrong."""
    if name == "inception":
        from sarigan.models.feature_networks.inception import WEIGHTS, InceptionV3  # torch-fidelity takes seconds to import

        return InceptionV3(WEIGHTS.fetch(inception_weights)).to(device)
    if name == "efficientnet":
        return EfficientNet().to(device)
    if name == "vgg16":
        return Vgg16(VGG16_WEIGHTS.fetch()).to(device)
    raise InputError(f"feature network must be one of {', '.join(NETWORKS)}, got {name!r}")
