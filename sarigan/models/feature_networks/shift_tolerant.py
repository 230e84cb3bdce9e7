"""The two networks of ST-LPIPS (Ghildyal & Liu 2022, "Shift-tolerant Perceptual Similarity Metric", ECCV).

AlexNet and VGG16 without strides: every pooling moves by 1 px, and a blur with [1 2 1] x [1 2 1] / 16 reduces what it made.
Trained from scratch on human judgements of 64 px patches (BAPPS), together with the linear layers that weigh their channels.
The weights are in the PyPI package stlpips_pytorch, so none is downloaded at run time.
"""

import re
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sarigan.errors import InputError
from sarigan.models.feature_networks.published_file import PackagedFile

_PADDING = 2  # px that are reflected at each side before a blur


@dataclass(frozen=True)
class Trunk:
    """What is not in the file of weights."""

    file: PackagedFile
    paddings: tuple[int, ...]  # px of zeros around the input of each of the convolutions
    pooling: int  # px
    pooled: tuple[int, ...]  # the layers, of five, that begin with a pooling and a blur
    blurs_first: bool  # the first convolution is reduced before its ReLU
    min_size: int  # px: below it a reflection has too little to show


def _file(name: str, title: str, sha256: str) -> PackagedFile:
    path = f"weights/vST0.0/{name}_shift_tolerant.pth"
    return PackagedFile(f"ST-LPIPS of {title}", "stlpips_pytorch==0.0.2", "stlpips_pytorch", path, sha256)


TRUNKS = {
    "alex": Trunk(
        _file("alex", "AlexNet", "b356b382f96010f77d085ee8343ecd9fd322d0a56e8de2b2d0549fafcad8b9ee"),
        paddings=(2, 2, 1, 1, 1), pooling=3, pooled=(1, 2), blurs_first=True, min_size=21,
    ),
    "vgg": Trunk(
        _file("vgg", "VGG16", "44597da68f49c1837c100ff52299050f274d102eb102e5837178c79be6f0e250"),
        paddings=(1,) * 13, pooling=2, pooled=(1, 2, 3, 4), blurs_first=False, min_size=18,
    ),
}  # fmt: skip


class ShiftTolerantMaps(nn.Module):
    """Images [N,3,H,W] in -1..1 -> the five layers [N,C,h,w], each after its last ReLU. Widths are those of `state`."""

    shift: Tensor
    scale: Tensor
    blur: Tensor

    def __init__(self, state: dict[str, Tensor], trunk: Trunk) -> None:
        super().__init__()
        self.trunk = trunk
        line = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("shift", state["scaling_layer.shift"].clone())
        self.register_buffer("scale", state["scaling_layer.scale"].clone())
        self.register_buffer("blur", line[:, None] * line)
        found = [match for match in map(re.compile(r"net\.slice(\d)\.(\d+)\.weight").fullmatch, state) if match]
        layers: list[list[nn.Module]] = [[] for _ in range(5)]
        for match, padding in zip(sorted(found, key=lambda match: int(match[2])), trunk.paddings, strict=True):
            weight, bias = state[match[0]], state[match[0].replace("weight", "bias")]
            convolution = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[-1], padding=padding)
            convolution.load_state_dict({"weight": weight, "bias": bias})
            layers[int(match[1]) - 1].append(convolution)
        self.layers = nn.ModuleList(nn.Sequential(*convolutions) for convolutions in layers)

    def forward(self, images: Tensor) -> list[Tensor]:
        if min(images.shape[2:]) < self.trunk.min_size:
            size, least = f"{images.shape[3]}x{images.shape[2]}", self.trunk.min_size
            raise InputError(f"{self.trunk.file.title} compares images of {least} px and more, got {size}")
        x, kept = (images - self.shift) / self.scale, []
        for index, convolutions in enumerate(self.layers):
            if index in self.trunk.pooled:
                x = self._halved(F.max_pool2d(x, self.trunk.pooling, stride=1))
            for convolution in convolutions.children():
                x = convolution(x)
                x = F.relu(self._halved(x) if self.trunk.blurs_first and index == 0 else x)
            kept.append(x)
        return kept

    def _halved(self, x: Tensor) -> Tensor:
        x = F.pad(x, (_PADDING,) * 4, mode="reflect")
        return F.conv2d(x, self.blur.expand(x.shape[1], 1, 3, 3), stride=2, groups=x.shape[1])
