"""The feature networks that metrics name."""

from pathlib import Path

import torch

from sarigan.errors import InputError
from sarigan.models.feature_networks import dinov2, vgg16
from sarigan.models.feature_networks.efficientnet import EfficientNet
from sarigan.models.feature_networks.feature_network import FeatureNetwork

NETWORKS = ("inception", "efficientnet", "vgg16", "dinov2")


def open_network(name: str, device: torch.device | str = "cpu", weights: str | Path | None = None) -> FeatureNetwork:
    """One of NETWORKS, frozen, on a device. weights: the file of inception or dinov2, else it is looked for.

    InputError for another name, or for weights that are missing or wrong.
    """
    if name == "inception":
        from sarigan.models.feature_networks.inception import WEIGHTS, InceptionV3  # torch-fidelity takes seconds to import

        return InceptionV3(WEIGHTS.fetch(weights)).to(device)
    if name == "efficientnet":
        return EfficientNet().to(device)
    if name == "vgg16":
        return vgg16.Vgg16(vgg16.WEIGHTS.fetch()).to(device)
    if name == "dinov2":
        return dinov2.DinoV2(dinov2.WEIGHTS.fetch(weights)).to(device)
    raise InputError(f"feature network must be one of {', '.join(NETWORKS)}, got {name!r}")
