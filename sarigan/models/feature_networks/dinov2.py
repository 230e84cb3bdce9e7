"""DINOv2 (Oquab et al. 2023): a vision transformer (Dosovitskiy et al. 2021) trained without labels on 142 million images.

Weights and architecture are Meta's ViT-L/14 without registers, the network of torch-fidelity's `dinov2-vit-l-14`, dgm-eval
(Stein et al. 2023, "Exposing flaws of generative model evaluation metrics") and EDM2. Features know no classes of ImageNet.
N images, T tokens, C channels.
"""

import re
from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sarigan.files.reading import reading
from sarigan.models.feature_networks.feature_network import FeatureNetwork, Features
from sarigan.models.feature_networks.published_file import PublishedFile
from sarigan.models.feature_networks.vgg16 import MEAN, STD

# Meta publishes no hash; this is what many who downloaded the file (1217586395 bytes) record.
WEIGHTS = PublishedFile(
    title="Meta's DINOv2 ViT-L/14 without registers",
    file_names=("dinov2_vitl14_pretrain.pth",),
    url="https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth",
    sha256="d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
    variable="SARIGAN_DINOV2",
    instead="without it run fd_efficientnet and its like, which need no download",
)
PATCH = 14  # px
HEAD = 64  # channels of a head of attention, in all sizes of DINOv2
_OFFSET = 0.1  # patches: Meta's code adds it to the new side before it divides by the old one
_EPSILON = 1e-6  # of layer normalisation


class _Block(nn.Module):
    """x + g1 attention(norm1(x)), then x + g2 mlp(norm2(x)), g of one number a channel. Names are those of the file."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(width, eps=_EPSILON) for _ in range(2))
        self.attn = nn.ModuleDict({"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)})
        expand, shrink = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.mlp = nn.Sequential(OrderedDict(fc1=expand, gelu=nn.GELU(), fc2=shrink))
        self.ls1, self.ls2 = (nn.ParameterDict({"gamma": nn.Parameter(torch.ones(width))}) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        n, t, c = x.shape
        q, k, v = self.attn["qkv"](self.norm1(x)).view(n, t, 3, c // HEAD, HEAD).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, c)
        x = x + self.ls1["gamma"] * self.attn["proj"](mixed)
        return x + self.ls2["gamma"] * self.mlp(self.norm2(x))


class DinoV2(FeatureNetwork):
    """Features: the class token after the last layer normalisation, 1024 numbers.

    Width and depth are those of the file. sha256: the hash that it must have, by default the published one; None takes any,
    and weights other than the published ones give a network that is named after their hash. InputError for another file.
    """

    input_size = 224
    center = tuple(255 * m for m in MEAN)
    spread = tuple(255 * s for s in STD)
    first: Tensor  # [1,1,C]
    positions: Tensor  # [1,256,C]

    def __init__(self, path: Path, sha256: str | None = WEIGHTS.sha256) -> None:
        found = WEIGHTS.identified(path, sha256)
        super().__init__("dinov2" if found == WEIGHTS.sha256 else f"dinov2-{found[:8]}", found)
        with reading(path, "file of weights of DINOv2 without registers"):
            self._build(torch.load(path, map_location="cpu", weights_only=True))
        self.eval().requires_grad_(False)

    def _build(self, state: dict[str, Tensor]) -> None:
        state = {name: value for name, value in state.items() if name != "mask_token"}  # which training alone uses
        first, positions = state.pop("cls_token"), state.pop("pos_embed")
        self.dimension = first.shape[2]
        depth = len([name for name in state if re.fullmatch(r"blocks\.\d+\.norm1\.weight", name)])
        with torch.device("meta"):  # 300 million weights would be drawn, and replaced
            self.patch_embed = nn.Sequential(OrderedDict(proj=nn.Conv2d(3, self.dimension, PATCH, stride=PATCH)))
            self.blocks = nn.ModuleList(_Block(self.dimension) for _ in range(depth))
            self.norm = nn.LayerNorm(self.dimension, eps=_EPSILON)
        self.load_state_dict(state, assign=True)
        side = self.input_size // PATCH
        self.register_buffer("first", first + positions[:, :1])
        self.register_buffer("positions", resized_positions(positions[:, 1:], side))

    def extract(self, x: Tensor) -> Features:
        """From float32 [N,3,224,224]."""
        patches = self.patch_embed(x).flatten(start_dim=2).transpose(1, 2) + self.positions
        x = torch.cat([self.first.expand(len(x), -1, -1), patches], dim=1)
        for block in self.blocks:
            x = block(x)
        return Features(self.norm(x[:, 0]), None)


def resized_positions(positions: Tensor, side: int) -> Tensor:
    """Embeddings of a square grid of patches [1,M*M,C] -> [1,side*side,C], bicubic; as they are where M = side.

    Output i lies at (i + 1/2) M / (side + 0.1) - 1/2: the scale of Meta's code, whose features are compared everywhere.
    """
    old = round(positions.shape[1] ** 0.5)
    if old == side:
        return positions
    grid = positions.transpose(1, 2).unflatten(2, (old, old))
    scale = (side + _OFFSET) / old
    return F.interpolate(grid, scale_factor=(scale, scale), mode="bicubic").flatten(start_dim=2).transpose(1, 2)
