"""Every metric that can be asked for by name."""

from collections.abc import Sequence

from sarigan.errors import InputError
from sarigan.metrics.feature_metrics import FrechetDistance, InceptionScore, KernelDistance, PrecisionRecall
from sarigan.metrics.metric import Metric

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        FrechetDistance("fid", "inception", "Frechet distance of Inception features"),
        KernelDistance("kid", "inception", "kernel distance of Inception features"),
        InceptionScore("inception_score", "inception", "Inception score"),
        PrecisionRecall("precision_recall", "", "improved precision and recall, in VGG16 where its weights are"),
        FrechetDistance("fd_efficientnet", "efficientnet", "Frechet distance of EfficientNet features"),
        KernelDistance("kid_efficientnet", "efficientnet", "kernel distance of EfficientNet features"),
        InceptionScore("classifier_score_efficientnet", "efficientnet", "Inception score's formula with EfficientNet"),
        PrecisionRecall("precision_recall_efficientnet", "efficientnet", "precision and recall of EfficientNet features"),
    )
}


def metrics_named(names: Sequence[str]) -> list[Metric]:
    """The metrics of these names in their order; InputError for an unknown one."""
    for name in names:
        if name not in METRICS:
            raise InputError(f"metrics: there is no {name!r}; there are {', '.join(METRICS)}")
    return [METRICS[name] for name in dict.fromkeys(names)]
