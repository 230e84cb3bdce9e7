"""Features of real photographs: like is near like, degraded is further, another subject furthest."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from sarigan.data.avatars.dataset import AvatarDataset
from sarigan.data.image_folder import ImageFolderDataset
from sarigan.metrics.feature_statistics import DatasetImages, FeatureRequest, Moments, collect
from sarigan.metrics.frechet import frechet_distance
from sarigan.models.feature_networks.efficientnet import EfficientNet
from sarigan.models.feature_networks.feature_network import TF

COUNT = int(os.environ.get("SARIGAN_TEST_IMAGES", "128"))  # in each set; docs/evaluation.md has a larger run


def jpeg_q10(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=10)
    return Image.open(buffer).convert("RGB")


def blur_3px(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(3))


def test_cats(real_data: Path, as_dataset: type) -> None:
    path = real_data / "cats128.zip"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    network = EfficientNet()

    def moments(images: np.ndarray) -> Moments:
        request = {network: FeatureRequest("efficientnet")}
        return collect(DatasetImages(as_dataset(images)), request, TF, 32, torch.device("cpu"))[network].moments

    cats = ImageFolderDataset(path, 128)
    order = np.random.default_rng(0).permutation(len(cats))
    a, b = (np.stack([cats[i] for i in order[s : s + COUNT]]) for s in (0, COUNT))
    pictures = [Image.fromarray(image.transpose(1, 2, 0)) for image in b]
    avatars = AvatarDataset(128)
    reference = moments(a)
    distance = {
        "halves": frechet_distance(reference, moments(b)),
        **{
            change.__name__: frechet_distance(
                reference, moments(np.stack([np.asarray(change(p)).transpose(2, 0, 1) for p in pictures]))
            )
            for change in (jpeg_q10, blur_3px)
        },
        "avatars": frechet_distance(reference, moments(np.stack([avatars[i] for i in range(COUNT)]))),
    }
    print({name: round(value, 2) for name, value in distance.items()})
    assert distance["halves"] < min(distance["jpeg_q10"], distance["blur_3px"]), distance
    assert max(distance["jpeg_q10"], distance["blur_3px"]) < distance["avatars"], distance
