"""SIFID: Frechet distance of one image to one picture, over the positions of their features (Shaham et al. 2019, SinGAN, 3.1).

Of Inception's features before its second pooling it is SIFID; of another network's it has another name. Images keep their
size. A position is a sample, so an image has to have many more of them than a feature has numbers; neighbouring ones see
overlapping patches, so the distance compares models on one picture only.
"""

from torch import Tensor

from sarigan.errors import InputError
from sarigan.metrics.feature_statistics import Moments, StreamedMoments
from sarigan.metrics.frechet import frechet_distance
from sarigan.models.feature_networks.feature_network import FeatureNetwork


def single_image_distances(network: FeatureNetwork, picture: Tensor, images: list[Tensor]) -> list[float]:
    """The distance of each image [1,3,h,w] to the picture [1,3,H,W], all in -1..1 or uint8; SIFID is their mean."""
    real = position_moments(network, picture)
    return [frechet_distance(position_moments(network, image), real) for image in images]


def position_moments(network: FeatureNetwork, image: Tensor) -> Moments:
    """Mean and covariance over positions of the local features; InputError for an image with fewer than two."""
    features = network.local_features(image)[0].flatten(start_dim=1).T
    if len(features) < 2:
        raise InputError(f"an image of {image.shape[-1]}x{image.shape[-2]} px has too few positions for its distance")
    moments = StreamedMoments(features.shape[1])
    moments.update(features)
    return moments.merged()
