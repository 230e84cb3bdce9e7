"""The perceptual loss of pix2pixHD: mean |difference| of five layers, in VGG16 where its weights are or in EfficientNet.

The release takes VGG19 with images in -1..1; here VGG16 gets images as it was trained with them.
"""

from functools import cache

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.nn import functional as F

from sarigan.models.feature_networks import vgg16
from sarigan.models.feature_networks.efficientnet import EfficientNet

NETWORKS = ("efficientnet", "vgg16", "none")
WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)  # of the layers, from the first
_VGG16_ENDS = (2, 7, 12, 19, 26)  # after relu1_1, 2_1, 3_1, 4_1, 5_1


class _EfficientNetLayers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = EfficientNet()

    def forward(self, images: Tensor) -> list[Tensor]:
        pixels = images * 127.5 + 127.5
        return self.network.activations((pixels - self.network.center[0]) / self.network.spread[0])


@cache
def open_layers(network: str, device: torch.device) -> nn.Module:
    """The frozen network: images [N,3,H,W] in -1..1 -> five layers. InputError when its weights are missing."""
    vgg = network == "vgg16"
    with unset_fake_temporarily():  # where a step is counted on tensors without contents, weights are read all the same
        layers: nn.Module = vgg16.Vgg16Maps(vgg16.WEIGHTS.fetch(), _VGG16_ENDS) if vgg else _EfficientNetLayers()
        return layers.to(device).eval().requires_grad_(False)


def perceptual_loss(network: str, made: Tensor, real: Tensor) -> Tensor:
    """sum over layers of weight * mean |difference|; made and real [N,3,H,W]. No gradient reaches the real images."""
    layers = open_layers(network, made.device)
    with torch.autocast(made.device.type, enabled=False):
        with torch.no_grad():
            wanted = layers(real.float())
        terms = [w * F.l1_loss(a, b) for w, a, b in zip(WEIGHTS, layers(made.float()), wanted, strict=True)]
    return torch.stack(terms).sum()
