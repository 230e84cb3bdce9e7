"""InceptionV3 as ported from TensorFlow for FID (Heusel et al. 2017): torch-fidelity's implementation and weight format."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, BasicConv2d, FeatureExtractorInceptionV3

from sarigan.errors import InputError
from sarigan.models.feature_networks.feature_network import RELEASE, FeatureNetwork, Features, Preprocessing
from sarigan.models.feature_networks.published_file import PublishedFile

# The hash agrees with the eight digits that both published names carry; pytorch-fid's and torch-fidelity's are one file.
WEIGHTS = PublishedFile(
    title="InceptionV3 for FID (torch-fidelity's port of TensorFlow's)",
    file_names=("weights-inception-2015-12-05-6726825d.pth", "pt_inception-2015-12-05-6726825d.pth"),
    url=URL_INCEPTION_V3,
    sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    variable="SARIGAN_INCEPTION",
    instead="without it run fd_efficientnet, kid_efficientnet and precision_recall, which need no download",
)

NUM_LAYERS_BEFORE_SECOND_POOLING = 6  # three convolutions, a pooling, two convolutions


class InceptionV3(FeatureNetwork):
    """Features: the 2048 averages of the last pooling; logits without bias of the 1008 classes, as Inception score wants.

    sha256: the hash that the file must have, by default the published one; None takes any. Weights other than the
    published ones give a network that is named after their hash, so that its distances are never called FID.
    """

    dimension = 2048
    num_classes = 1008
    input_size = 299
    center = (128.0,)
    spread = (128.0,)

    def __init__(self, path: Path, sha256: str | None = WEIGHTS.sha256) -> None:
        found = WEIGHTS.identified(path, sha256)
        super().__init__("inception" if found == WEIGHTS.sha256 else f"inception-{found[:8]}", found)
        try:
            whole = FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=str(path))
        except (RuntimeError, ValueError, EOFError) as error:
            reason = " ".join(str(error).split())[:120]
            raise InputError(f"{path}: not weights in torch-fidelity's format ({reason})") from None
        # Its children are in the order of its forward pass, up to the classifier.
        trunk = [child for name, child in whole.named_children() if name != "fc"]
        self.trunk = _folded(nn.Sequential(*trunk)).to(memory_format=torch.channels_last)
        self.register_buffer("class_weight", whole.fc.weight.detach())
        self.eval().requires_grad_(False)

    def normalize(self, x: Tensor, preprocessing: Preprocessing) -> Tensor:
        """[N,3,299,299] in 0..255 -> (x - 128) / 128, in the mode `release` x / 127.5 - 1."""
        return x / 127.5 - 1 if preprocessing is RELEASE else super().normalize(x, preprocessing)

    def extract(self, x: Tensor) -> Features:
        """From float32 [N,3,299,299]."""
        features = self.trunk(x).flatten(start_dim=1)
        return Features(features, features @ self.class_weight.T)

    def extract_local(self, x: Tensor) -> Tensor:
        """The features before the second pooling: [N,192,h,w]."""
        for layer in list(self.trunk.children())[:NUM_LAYERS_BEFORE_SECOND_POOLING]:
            x = layer(x)
        return x


class _ConvolutionReLU(nn.Module):
    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(x).relu_()


def _folded(module: nn.Module) -> nn.Module:
    """The same network with every batch normalisation folded into its convolution, in float64."""
    for name, child in module.named_children():
        if isinstance(child, BasicConv2d):
            setattr(module, name, _ConvolutionReLU(fuse_conv_bn_eval(child.conv.double(), child.bn.double()).float()))
        else:
            _folded(child)
    return module
