"""From images to numbers, against torch-fidelity with the same weights: features first, then what is made of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric

from sarigan.metrics import kid
from sarigan.metrics.catalogue import evaluate
from sarigan.metrics.config import EvaluationConfig
from sarigan.metrics.evaluation import Evaluation
from sarigan.metrics.inception_score import ClassStatistics
from sarigan.models.feature_networks.inception import InceptionV3

COUNT, BATCH = 10, 5
FLOAT32, FLOAT64 = np.finfo(np.float32).eps, np.finfo(np.float64).eps
DEPTH, TERMS = 48, 3 * 3 * 448  # convolutions one after the other (94 in all branches), products in the longest sum


def test_fid_kid_and_inception_score(
    inception_file: Path, smooth_images: Callable[..., np.ndarray], as_dataset: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The features in float32, and the metrics of the same features in float64; one subset of all images, one split."""
    fake, real = smooth_images(COUNT, 48, seed=1), smooth_images(COUNT, 48, seed=2)
    monkeypatch.setattr(kid, "NUM_SUBSETS", 1)
    monkeypatch.setattr(ClassStatistics.__init__, "__defaults__", (1, True))
    network = InceptionV3(inception_file, sha256=None)
    evaluation = Evaluation(
        EvaluationConfig(batch_size=BATCH), torch.device("cpu"), images=as_dataset(fake), data=as_dataset(real),
        networks={"inception": network},
    )  # fmt: skip
    values = evaluate(evaluation, ["fid", "kid", "inception_score"]).values()
    # Random weights are not Inception's, and the names say so.
    short = network.sha256[:8]
    assert sorted(values) == [f"classifier_score_inception-{short}", f"fd_inception-{short}", f"kid_inception-{short}"]
    fd, kd, score = (values[f"{name}_inception-{short}"] for name in ("fd", "kid", "classifier_score"))
    assert fd > 0 and score > 1

    reference = FeatureExtractorInceptionV3(
        "inception", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(inception_file),
        feature_extractor_internal_dtype="float64",
    )  # fmt: skip
    features, logits = [], []
    for images in (fake, real):
        batches = [network(batch) for batch in torch.from_numpy(images).split(BATCH)]
        expected = reference(torch.from_numpy(images))
        found = [torch.cat([batch.features for batch in batches]), torch.cat([batch.logits for batch in batches])]
        # A sum of n products of float32 is off by sqrt(n) roundings (independent ones), and every layer adds such an error.
        for a, b in zip(found, expected, strict=True):
            assert (a - b).norm() <= DEPTH * TERMS**0.5 * FLOAT32 * b.norm()
        features.append(found[0].double())
        logits.append(found[1].double())

    expected_kid = kid_features_to_metric(*features, kid_subsets=1, kid_subset_size=COUNT, verbose=False)
    # Means of (x y / D + 1)^3 with x, y >= 0: D products and a cube in each, four means.
    largest = max(float((x.square().sum(dim=1).max() / 2048 + 1) ** 3) for x in features)
    assert abs(kd - expected_kid["kernel_inception_distance_mean"]) <= 4 * 3 * 2048 * FLOAT64 * largest
    a, b = (fid_features_to_statistics(x) for x in features)
    # The trace sums D square roots of eigenvalues, most of them 0, each off by the rounding of the largest.
    rounding = 2 * 2048 * (FLOAT64 * np.linalg.norm(a["sigma"], 2) * np.linalg.norm(b["sigma"], 2)) ** 0.5
    assert abs(fd - fid_statistics_to_metric(a, b, verbose=False)["frechet_inception_distance"]) <= rounding < 1e-3 * fd
    expected_score = isc_features_to_metric(logits[0], splits=1)["inception_score_mean"]
    assert score == pytest.approx(expected_score, rel=2 * COUNT * logits[0].shape[1] * FLOAT64)
