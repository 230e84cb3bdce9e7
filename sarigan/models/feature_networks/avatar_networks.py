"""Two small networks that read avatars: a classifier of binary attributes and a segmenter of parts.

Their weights come with the package (float16, `weights/`), each with a JSON that says how it was trained and how well it
reads unseen avatars; `scripts/train_avatar_networks.py` trains both anew. Images of any size are resized to 64 pixels.
Legend: N batch, R resolution of the images, A attributes, K parts.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sarigan.errors import InputError
from sarigan.files.reading import read_json, read_npz, reading

RESOLUTION = 64
WEIGHTS = Path(__file__).parent / "weights"
CLASSIFIER_FILE = WEIGHTS / "avatar_classifier.npz"
SEGMENTER_FILE = WEIGHTS / "avatar_segmenter.npz"
SEGMENTER_TITLE = "segmenter of avatars"  # in records and captions


def resize_images(images: Tensor, resolution: int) -> Tensor:
    """[N,C,R,R] -> [N,C,resolution,resolution]: box average where the sizes divide, else antialiased bilinear."""
    if images.shape[-1] == images.shape[-2] and images.shape[-1] % resolution == 0:
        return F.avg_pool2d(images, images.shape[-1] // resolution) if images.shape[-1] > resolution else images
    return F.interpolate(images, size=(resolution, resolution), mode="bilinear", antialias=True, align_corners=False)


class AvatarClassifier(nn.Module):
    """Images [N,3,R,R] in [-1,1] -> logits [N,A], positive where the attribute is there."""

    def __init__(self, names: list[str], widths: tuple[int, ...] = (24, 40, 56, 64)) -> None:
        super().__init__()
        self.names, self.widths = list(names), widths
        layers: list[nn.Module] = []
        for i, o in zip((3, *widths[:-1]), widths, strict=True):
            layers += [nn.Conv2d(i, o, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True)]
        self.trunk = nn.Sequential(*layers)
        # Parts have fixed places, so the head sees the whole 4x4 map.
        self.head = nn.Linear(widths[-1] * (RESOLUTION >> len(widths)) ** 2, len(names))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.trunk(resize_images(images, RESOLUTION)).flatten(start_dim=1))


class AvatarSegmenter(nn.Module):
    """Images [N,3,R,R] in [-1,1] -> logits [N,K,R,R] of the part at each pixel."""

    def __init__(self, names: list[str], widths: tuple[int, ...] = (24, 36, 48, 56)) -> None:
        super().__init__()
        self.names, self.widths = list(names), widths
        self.encoder = nn.ModuleList(
            _conv_block(i, o, stride=1 if index == 0 else 2)
            for index, (i, o) in enumerate(zip((12, *widths[:-1]), widths, strict=True))
        )
        self.decoder = nn.ModuleList(_conv_block(low + o, o) for low, o in zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.head = nn.Conv2d(widths[0], 4 * len(names), 1)

    def forward(self, images: Tensor) -> Tensor:
        # Blocks of 2x2 pixels as channels, in and out: a third of the work of convolutions at full size.
        x = F.pixel_unshuffle(self.resized(images), 2)
        skips: list[Tensor] = []
        for block in self.encoder:
            x = block(x)
            skips.append(x)
        skips.pop()
        for block in self.decoder:
            skip = skips.pop()
            x = block(torch.cat([F.interpolate(x, size=skip.shape[-2:], mode="nearest"), skip], dim=1))
        logits = F.pixel_shuffle(self.head(x), 2)
        if images.shape[-2:] == logits.shape[-2:]:
            return logits
        return F.interpolate(logits, size=images.shape[-2:], mode="bilinear", antialias=True, align_corners=False)

    def resized(self, images: Tensor) -> Tensor:
        """At the size that the network works at."""
        return resize_images(images, RESOLUTION)

    @torch.no_grad()
    def parts(self, images: Tensor) -> Tensor:
        """The most likely part at each pixel, an index into `names`: int64 [N,R,R]."""
        return self(images).argmax(dim=1)


Network = TypeVar("Network", AvatarClassifier, AvatarSegmenter)


def _conv_block(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def load_avatar_classifier(path: str | Path = CLASSIFIER_FILE, device: str | torch.device = "cpu") -> AvatarClassifier:
    """The trained classifier: the package's own, or the `.npz` that the training script wrote, with its `.json` beside.

    Raises InputError for a missing or damaged file.
    """
    return _build(AvatarClassifier, path, device)


def load_avatar_segmenter(path: str | Path = SEGMENTER_FILE, device: str | torch.device = "cpu") -> AvatarSegmenter:
    """The trained segmenter: as `load_avatar_classifier`."""
    return _build(AvatarSegmenter, path, device)


def save_network(network: nn.Module, path: Path, kind: str, record: dict[str, Any]) -> None:
    """Write weights (float16 `.npz`) and the record of their making (`.json` beside). `record` needs names and widths."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: tensor for name, tensor in network.state_dict().items() if tensor.is_floating_point()}
    arrays: dict[str, Any] = {name: tensor.detach().cpu().half().numpy() for name, tensor in state.items()}
    with open(path, "wb") as file:
        np.savez_compressed(file, **arrays)
    record = {"kind": kind, "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), **record}
    path.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")


def read_record(path: str | Path) -> dict[str, Any]:
    """The JSON beside a weights file: names, held-out scores, the command that made it."""
    record_path = Path(path).with_suffix(".json")
    record = read_json(record_path, f"it belongs beside {Path(path).name}")
    if not isinstance(record, dict) or not {"kind", "sha256", "names", "widths"} <= record.keys():
        raise InputError(f"{record_path}: not the record of a network (needs kind, sha256, names and widths)")
    return record


def read_weights(path: Path, kind: str, maker: str = "scripts/train_avatar_networks.py") -> dict[str, Tensor]:
    """The weights of a network of a kind, checked against their record; InputError that names the script that makes one."""
    return _read(path, kind, maker)[0]


def _read(path: Path, kind: str, maker: str = "scripts/train_avatar_networks.py") -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not path.is_file():
        raise InputError(f"{path}: no such file; {maker} makes one")
    record = read_record(path)
    if record["kind"] != kind:
        raise InputError(f"{path}: holds an {record['kind']}, an {kind} was asked for")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != record["sha256"]:
        raise InputError(f"{path}: SHA256 is {found[:12]}..., its record says {str(record['sha256'])[:12]}...; make both anew")
    with reading(path, "weights file"):
        arrays = {name: array.astype(np.float32) for name, array in read_npz(path).items()}
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise InputError("weights must be finite")
        return {name: torch.from_numpy(array) for name, array in arrays.items()}, record


def _build(network_class: type[Network], path: str | Path, device: str | torch.device) -> Network:
    weights, record = _read(Path(path), "avatar_classifier" if network_class is AvatarClassifier else "avatar_segmenter")
    with reading(path, "weights file of the network that its record describes"):
        with torch.device("meta"):  # no memory yet for what the record asks for
            shapes = network_class(record["names"], tuple(record["widths"])).state_dict()
        for name, value in shapes.items():
            if value.is_floating_point() and weights[name].shape != value.shape:
                raise InputError(f"{name} has the shape {tuple(weights[name].shape)}, its record says {tuple(value.shape)}")
        network = network_class(record["names"], tuple(record["widths"]))
        network.load_state_dict(weights, strict=False)
    return network.to(device).eval().requires_grad_(False)
