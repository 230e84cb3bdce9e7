"""Classifiers of binary attributes as files, for linear separability: `avatars`, our own `.npz`, or ONNX.

An ONNX file takes one input [N,3,R,R] (float32 in -1..1, RGB, R fixed in the file) and gives one output [N,A], logits that
are positive where the attribute is there. Its metadata property `attributes` names the A attributes, with commas between;
without it a file of one attribute is named after itself. Needs onnxruntime (`pip install onnxruntime`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from sarigan.errors import InputError
from sarigan.models.feature_networks.avatar_networks import (
    CLASSIFIER_FILE,
    AvatarClassifier,
    load_avatar_classifier,
    resize_images,
)
from sarigan.models.feature_networks.published_file import file_sha256

BUILT_IN = {"avatars": CLASSIFIER_FILE}


class AttributeClassifier(Protocol):
    """Images [N,3,R,R] in about -1..1 -> logits [N,A], positive where the named attribute is there."""

    names: list[str]

    def __call__(self, images: Tensor, /) -> Tensor: ...


class OnnxClassifier:
    """An ONNX file as a classifier; runs where onnxruntime does, on a GPU if it has one."""

    def __init__(self, path: Path) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise InputError(f"{path}: reading ONNX classifiers needs onnxruntime (pip install onnxruntime)") from None
        try:
            self.session = onnxruntime.InferenceSession(str(path), providers=onnxruntime.get_available_providers())
        except Exception as error:  # the dozen exceptions of onnxruntime have no common base
            raise InputError(f"{path}: not a readable ONNX file ({' '.join(str(error).split())[:100]})") from None
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        shape = inputs[0].shape
        if len(inputs) != 1 or len(outputs) != 1 or len(shape) != 4 or shape[1] != 3 or not isinstance(shape[2], int):
            raise InputError(f"{path}: a classifier takes one input [N,3,R,R] with R fixed and gives one output, found {shape}")
        self.path, self.resolution = path, shape[2]
        listed = self.session.get_modelmeta().custom_metadata_map.get("attributes", path.stem)
        self.names = [name.strip() for name in listed.split(",")]

    def __call__(self, images: Tensor) -> Tensor:
        pixels = resize_images(images.float(), self.resolution).cpu().numpy()
        (logits,) = self.session.run(None, {self.session.get_inputs()[0].name: pixels})
        if np.shape(logits) != (len(images), len(self.names)):
            wanted, got = (len(images), len(self.names)), np.shape(logits)
            raise InputError(f"{self.path}: logits of {wanted[1]} named attributes must have shape {wanted}, got {got}")
        return torch.from_numpy(np.asarray(logits, dtype=np.float32)).to(images.device)


def open_attribute_classifiers(
    sources: Sequence[str | Path], device: str | torch.device = "cpu"
) -> list[AvatarClassifier | OnnxClassifier]:
    """A classifier per source: `avatars`, a `.npz` of scripts/train_avatar_networks.py, or a `.onnx`. InputError otherwise."""
    return [_open(source, device) for source in sources]


def classifier_hashes(sources: Sequence[str | Path]) -> dict[str, str]:
    """Source -> SHA256 of its file, for the record of an evaluation."""
    return {str(source): file_sha256(BUILT_IN.get(str(source), Path(source))) for source in sources}


def _open(source: str | Path, device: str | torch.device) -> Any:
    path = BUILT_IN.get(str(source), Path(source))
    if not path.is_file():
        raise InputError(f"{source}: no such file; attribute classifiers are .npz or .onnx files, or {', '.join(BUILT_IN)}")
    if path.suffix == ".npz":
        return load_avatar_classifier(path, device)
    if path.suffix == ".onnx":
        return OnnxClassifier(path)
    raise InputError(f"{source}: an attribute classifier is a .npz or .onnx file, got {path.suffix or 'no suffix'}")
