"""One process of tests/metrics/test_rank_independence.py: python rank_worker.py OUTPUT; the launcher's variables are set."""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from sarigan import distributed
from sarigan.config import load_config
from sarigan.data.image_folder import ImageFolderDataset
from sarigan.metrics.catalogue import evaluate
from sarigan.metrics.config import EvaluationConfig
from sarigan.metrics.evaluation import Evaluation
from sarigan.metrics.feature_statistics import StreamedMoments
from sarigan.metrics.statistics_cache import StatisticsCache, content_hash
from sarigan.models.generator import Generator

NAMES = ["fd_efficientnet", "kid_efficientnet", "precision_recall_efficientnet", "classifier_score_efficientnet"]


def main(output: Path, folder: Path, overrides: list[str]) -> None:
    """Moments of fixed features, and an evaluation of a small random generator; the main process writes both."""
    torch.set_num_threads(1)
    device = torch.device("cpu")
    rank, ranks = distributed.rank(), distributed.world_size()
    with distributed.rank_main(), distributed.process_group(device):
        features = torch.from_numpy(np.random.default_rng(0).standard_normal((101, 11)) * np.arange(1, 12) + 5)
        streamed = StreamedMoments(11)
        for part in features.split(10)[rank::ranks]:
            streamed.update(part)
        moments = streamed.merged()
        torch.manual_seed(0)
        generator = Generator(load_config(None, overrides).generator).eval()
        data = ImageFolderDataset(folder, 16)
        evaluation = Evaluation(
            EvaluationConfig(num_images=20, batch_size=6), device, generator=generator, data=data,
            cache=StatisticsCache(output.with_name(f"cache-{ranks}")),
        )  # fmt: skip
        values = evaluate(evaluation, NAMES).values()
        digest = content_hash(data)
        if rank == 0:
            found = {"mean": moments.mean.tolist(), "scatter": moments.scatter.tolist(), "count": moments.count}
            output.write_text(json.dumps({"moments": found, "values": values, "hash": digest}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
