"""The numbers that make results comparable with published ones; a change of any is a change of protocol."""

from sarigan.metrics import inception_score, kid, precision_recall
from sarigan.metrics.evaluation import EvaluationConfig
from sarigan.metrics.feature_statistics import MAX_KEPT
from sarigan.metrics.linear_separability import SeparabilityConfig
from sarigan.metrics.perceptual_path_length import LARGEST_SIDE, PathLengthConfig
from sarigan.models.discriminator import DiscriminatorConfig, MinibatchStddev
from sarigan.models.feature_networks.efficientnet import EfficientNet
from sarigan.models.feature_networks.inception import InceptionV3
from sarigan.models.feature_networks.vgg16 import Vgg16


def test_fid_kid_inception_score_precision_and_recall() -> None:
    """50,000 images; 100 subsets of 1000 (Binkowski et al. 2018); 10 splits (Salimans et al. 2016); k = 3 of 50,000."""
    config = EvaluationConfig()
    assert (config.num_images, config.num_real_images, config.preprocessing, config.truncation_psi) == (50_000, None, "tf", 1.0)
    assert (kid.NUM_SUBSETS, kid.SUBSET_SIZE) == (100, 1000)
    assert inception_score.NUM_SPLITS == 10
    assert (precision_recall.NUM_NEIGHBORS, MAX_KEPT) == (3, 50_000)


def test_path_length_and_separability() -> None:
    """Karras et al. 2019, sec. 4: epsilon 1e-4, 50,000 pairs in full paths, 256 px; 200,000 images, half of them kept."""
    paths, planes = PathLengthConfig(), SeparabilityConfig()
    assert (paths.sampling, paths.num_samples, paths.epsilon, paths.face_crop) == ("full", 50_000, 1e-4, False)
    assert LARGEST_SIDE == 256
    assert (planes.num_images, planes.kept_share) == (200_000, 0.5)


def test_networks() -> None:
    """Sizes of the input and widths of the features, and groups of four samples for the minibatch statistic."""
    shapes = {network: (network.input_size, network.dimension) for network in (InceptionV3, EfficientNet, Vgg16)}
    assert shapes == {InceptionV3: (299, 2048), EfficientNet: (224, 1280), Vgg16: (224, 4096)}
    assert (InceptionV3.num_classes, EfficientNet.num_classes) == (1008, 1000)
    assert DiscriminatorConfig().minibatch_stddev_group == MinibatchStddev().group_size == 4
