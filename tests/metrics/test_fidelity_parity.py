"""From images to numbers, against torch-fidelity with the same weights."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from sarigan.metrics import kid
from sarigan.metrics.benchmark import reference_metrics
from sarigan.metrics.evaluation import Evaluation, EvaluationConfig
from sarigan.metrics.evaluator import evaluate
from sarigan.metrics.inception_score import ClassStatistics
from sarigan.models.feature_networks.inception import InceptionV3

COUNT = 10


def test_fid_kid_and_inception_score(
    inception_file: Path, smooth_images: Callable[..., np.ndarray], as_dataset: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1e-4 relative; one subset of all images, one split."""
    fake, real = smooth_images(COUNT, 48, seed=1), smooth_images(COUNT, 48, seed=2)
    expected = reference_metrics(
        inception_file, fake, real, batch_size=COUNT, fid=True, kid=True, isc=True, kid_subsets=1, kid_subset_size=COUNT,
        isc_splits=1,
    )  # fmt: skip
    monkeypatch.setattr(kid, "NUM_SUBSETS", 1)
    monkeypatch.setattr(ClassStatistics.__init__, "__defaults__", (1, True))
    network = InceptionV3(inception_file, sha256=None)
    evaluation = Evaluation(
        EvaluationConfig(batch_size=5), torch.device("cpu"), images=as_dataset(fake), data=as_dataset(real),
        networks={"inception": network},
    )  # fmt: skip
    values = evaluate(evaluation, ["fid", "kid", "inception_score"]).values()
    # Random weights are not Inception's, and the names say so.
    short = network.sha256[:8]
    assert sorted(values) == [f"classifier_score_inception-{short}", f"fd_inception-{short}", f"kid_inception-{short}"]
    fd, kd, score = (values[f"{name}_inception-{short}"] for name in ("fd", "kid", "classifier_score"))
    assert fd == pytest.approx(expected["frechet_inception_distance"], rel=1e-4)
    assert kd == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-4)
    assert score == pytest.approx(expected["inception_score_mean"], rel=1e-4)
    assert fd > 0 and score > 1
