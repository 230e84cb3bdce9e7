"""Inception score (Salimans et al. 2016): exp of the mean KL divergence of p(y|x) from p(y), mean over splits."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sarigan.distributed import sum_over_ranks
from sarigan.errors import InputError
from sarigan.metrics.evaluation import Evaluation, FeatureMetric, Result
from sarigan.metrics.feature_statistics import FeatureRequest

NUM_SPLITS = 10


class ClassStatistics:
    """Sums of p(y|x) and of its negative entropy in each split, streamed in float64.

    The position of an image decides its split: contiguous runs of all positions, which `shuffle` permutes first (fixed seed).
    """

    def __init__(self, num_images: int, num_classes: int, num_splits: int = NUM_SPLITS, shuffle: bool = True) -> None:
        self.num_splits = min(num_splits, num_images)
        order = torch.arange(num_images)
        if shuffle:
            order = torch.randperm(num_images, generator=torch.Generator().manual_seed(0))
        starts = torch.arange(1, self.num_splits) * num_images // self.num_splits
        self.split_of = torch.bucketize(order, starts, right=True)
        self.counts = torch.zeros(self.num_splits, dtype=torch.float64)
        self.probabilities = torch.zeros(self.num_splits, num_classes, dtype=torch.float64)
        self.negative_entropies = torch.zeros(self.num_splits, dtype=torch.float64)

    def update(self, positions: Tensor, logits: Tensor) -> None:
        """Take in logits [N,K] of the images at these positions."""
        log_p = logits.cpu().double().log_softmax(dim=1)
        p, splits = log_p.exp(), self.split_of[positions]
        self.counts.index_add_(0, splits, torch.ones(len(p), dtype=torch.float64))
        self.probabilities.index_add_(0, splits, p)
        self.negative_entropies.index_add_(0, splits, (p * log_p).sum(dim=1))

    def merge(self, device: torch.device) -> None:
        """Sum over all processes, which communicate through `device`."""
        for name in ("counts", "probabilities", "negative_entropies"):
            setattr(self, name, sum_over_ranks(getattr(self, name).to(device)).cpu())

    def score(self) -> tuple[float, float]:
        """Mean and standard deviation over splits."""
        marginal = self.probabilities / self.counts[:, None]
        # mean KL = mean of sum p log p - sum q log q, q the marginal
        divergence = self.negative_entropies / self.counts - torch.special.xlogy(marginal, marginal).sum(dim=1)
        scores = divergence.exp()
        return float(scores.mean()), float(scores.std(correction=0))


class InceptionScore(FeatureMetric):
    """Inception score, or the same of another network's classifier."""

    needs_data = False

    def check(self, evaluation: Evaluation) -> None:
        super().check(evaluation)
        network = evaluation.network(self.network_of(evaluation))
        if network.num_classes is None:
            raise InputError(f"{self.name}: feature network {network.name} has no classifier")

    def requests(self, evaluation: Evaluation) -> Sequence[FeatureRequest]:
        return [FeatureRequest(self.network_of(evaluation), classes=ClassStatistics, compares=False)]

    def compute(self, evaluation: Evaluation) -> Sequence[Result]:
        classes = evaluation.generated(self.network_of(evaluation)).classes
        assert isinstance(classes, ClassStatistics)
        value, spread = classes.score()
        return [self.result(evaluation, "inception_score", value, f"{classes.num_splits} splits", spread)]
