"""A new metric is one file, this one, and one line in the catalogue: everything else takes it as it is."""

import math
from collections.abc import Callable, Iterable

import numpy as np
import pytest

from sarigan.errors import InputError
from sarigan.metrics.catalogue import METRICS, Report, evaluate, metrics_named
from sarigan.metrics.evaluation import Evaluation, FeatureMetric, Metric, Result
from sarigan.metrics.feature_statistics import FeatureRequest, Moments


def mean_distance(a: Moments, b: Moments) -> float:
    """|m1 - m2|."""
    return float((a.mean - b.mean).norm())


class MeanDistance(FeatureMetric):
    """The formula above, as an evaluation offers it."""

    def requests(self, evaluation: Evaluation) -> list[FeatureRequest]:
        return [FeatureRequest(self.network_name)]

    def compute(self, evaluation: Evaluation) -> Iterable[Result]:
        real, generated = evaluation.real(self.network_name).moments, evaluation.generated(self.network_name).moments
        yield Result("mean_distance", mean_distance(generated, real), "distance of means")


class NumImages(Metric):
    """Needs no features."""

    name, summary, needs_data = "num_images", "how many images there are", False

    def compute(self, evaluation: Evaluation) -> Iterable[Result]:
        yield Result(self.name, len(evaluation.generated_images), "count")


@pytest.fixture
def catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    for metric in (MeanDistance("mean_distance", "efficientnet", "distance of means"), NumImages()):
        monkeypatch.setitem(METRICS, metric.name, metric)


def test_a_new_metric_is_evaluated_beside_the_others(
    catalogue: None, evaluation_of: Callable[..., Evaluation], smooth_images: Callable[..., np.ndarray], as_dataset: type,
) -> None:  # fmt: skip
    data, images = as_dataset(smooth_images(30, 16)), as_dataset(smooth_images(40, 16, seed=1))
    report = evaluate(evaluation_of(data, images), ["mean_distance", "num_images", "fd_efficientnet"])
    values = report.values()
    assert values["num_images"] == 40 and 0 < values["mean_distance"] ** 2 < values["fd_small"]
    assert "mean_distance" in report.table()


def test_names() -> None:
    assert [metric.name for metric in metrics_named(["kid", "fid", "kid"])] == ["kid", "fid"]
    assert all(name == metric.name and metric.summary for name, metric in METRICS.items())
    with pytest.raises(InputError, match="there is no 'num_images'; there are fid, kid"):
        metrics_named(["num_images"])


def test_chance_has_the_digits_of_the_value() -> None:
    pairs = [(0.0762, -3.846e-05), (0.2, -0.0512), (61.02, 599.83), (-0.63, 0.0), (0.0, 0.0), (4e-5, 3.33e-5), (math.nan, 0.5)]
    table = Report([Result("m", value, "p", null=null) for value, null in pairs], {}).table()
    assert [line.split()[2] for line in table.splitlines()[1:]] == ["0", "-0.051", "600", "0", "0", "3.33e-05", "0.5"]
