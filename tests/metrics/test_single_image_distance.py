"""SIFID's formula against NumPy and scipy, and its name."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import linalg

from sarigan.errors import InputError
from sarigan.metrics.single_image_distance import position_moments, single_image_distances
from sarigan.models.feature_networks import inception
from sarigan.models.feature_networks.feature_network import FeatureNetwork, metric_name, to_uint8
from sarigan.models.feature_networks.networks_by_name import open_network


@pytest.fixture(scope="module")
def network() -> FeatureNetwork:
    return open_network("efficientnet")


def test_distance_by_scipy(network: FeatureNetwork) -> None:
    """Positions of the 24 features at a quarter of the size are the samples."""
    picture, image = torch.rand(2, 1, 3, 40, 56) * 2 - 1
    image = (image * 0.5).clamp(-1, 1)
    sets = []
    for x in (image, picture):
        features = network.activations(network.normalize(to_uint8(x).float(), None))[1]
        assert features.shape == (1, 24, 10, 14)
        sets.append(features[0].flatten(1).T.double().numpy())
    means, covariances = [s.mean(0) for s in sets], [np.cov(s, rowvar=False) for s in sets]
    root = linalg.sqrtm(covariances[0] @ covariances[1]).real
    expected = ((means[0] - means[1]) ** 2).sum() + np.trace(covariances[0] + covariances[1] - 2 * root)
    (found,) = single_image_distances(network, picture, [image])
    assert found == pytest.approx(expected, rel=1e-4)


def test_a_picture_has_no_distance_to_itself(network: FeatureNetwork) -> None:
    picture = torch.rand(1, 3, 32, 48) * 2 - 1
    same, shifted = single_image_distances(network, picture, [to_uint8(picture), picture.roll(16, dims=3)])
    assert abs(same) < 1e-6 and shifted > 0
    assert position_moments(network, picture).count == 8 * 12


def test_only_inceptions_is_called_sifid(network: FeatureNetwork) -> None:
    assert metric_name("sifid", network) == "single_image_fd_efficientnet"
    published = inception.InceptionV3.__new__(inception.InceptionV3)
    torch.nn.Module.__init__(published)
    published.name = "inception"
    assert metric_name("sifid", published) == "sifid"


def test_inceptions_local_features_end_before_the_second_pooling() -> None:
    """Of the published architecture with random weights: the input of the second pooling, 192 numbers a position."""
    trunk = inception.FeatureExtractorInceptionV3.__new__(inception.FeatureExtractorInceptionV3)
    from torch_fidelity import feature_extractor_inceptionv3 as published

    torch.nn.Module.__init__(trunk)
    layers = [
        published.BasicConv2d(3, 32, kernel_size=3, stride=2), published.BasicConv2d(32, 32, kernel_size=3),
        published.BasicConv2d(32, 64, kernel_size=3, padding=1), torch.nn.MaxPool2d(3, 2),
        published.BasicConv2d(64, 80, kernel_size=1), published.BasicConv2d(80, 192, kernel_size=3), torch.nn.MaxPool2d(3, 2),
    ]  # fmt: skip
    network = inception.InceptionV3.__new__(inception.InceptionV3)
    torch.nn.Module.__init__(network)
    network.trunk = torch.nn.Sequential(*layers).eval()
    x = torch.rand(1, 3, 67, 91)
    found = network.extract_local(x)
    assert found.shape[1] == 192 and torch.equal(layers[-1](found), network.trunk(x))


def test_networks_and_images_without_positions(network: FeatureNetwork, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="an image of 4x4 px has too few positions"):
        position_moments(network, torch.zeros(1, 3, 4, 4))

    class Other(FeatureNetwork):
        center, spread = (128.0,), (128.0,)

        def extract(self, x: torch.Tensor) -> None:  # type: ignore[override]
            raise AssertionError

    with pytest.raises(InputError, match="other has no local features; inception and efficientnet have"):
        Other("other", "").local_features(torch.zeros(1, 3, 16, 16))
