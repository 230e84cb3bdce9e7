"""One process of the rank test of class metrics: python class_rank_worker.py OUTPUT; the launcher's variables are set."""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from sarigan import distributed
from sarigan.config import load_config
from sarigan.data.labels import ClassLabels, LabelledDataset
from sarigan.metrics.catalogue import METRICS, evaluate
from sarigan.metrics.classification_accuracy import ClassificationAccuracy, ClassifierTraining
from sarigan.metrics.config import EvaluationConfig
from sarigan.metrics.evaluation import Evaluation
from sarigan.models.generator import Generator

NAMES = ["class_fd_efficientnet", "class_kid_efficientnet", "class_precision_recall_efficientnet", "class_accuracy"]


class Images:
    """Random images of three classes."""

    resolution, content_key = 16, "random"

    def __len__(self) -> int:
        return 15

    def __getitem__(self, index: int) -> np.ndarray:
        return np.random.default_rng(index).integers(0, 256, (3, 16, 16), dtype=np.uint8)

    def describe(self) -> str:
        return "random"

    def class_labels(self, source: str) -> ClassLabels:
        return ClassLabels(["a", "b", "c"], [index % 3 for index in range(15)], str)


def main(output: Path, overrides: list[str]) -> None:
    """An evaluation of a small random generator with classes; every process checks that it has the main one's results."""
    torch.set_num_threads(1)
    device = torch.device("cpu")
    METRICS["class_accuracy"] = ClassificationAccuracy(ClassifierTraining(2, 4))
    with distributed.rank_main(), distributed.process_group(device):
        torch.manual_seed(0)
        classes = ("data.labels=folders", "generator.class_names=[a,b,c]", "generator.class_shares=[0.2,0.3,0.5]")
        config = load_config(None, [*overrides, *classes])
        generator = Generator(config.generator).eval()
        data = LabelledDataset(Images(), "label")
        evaluation = Evaluation(EvaluationConfig(num_images=15, batch_size=2), device, generator=generator, data=data)
        values = evaluate(evaluation, NAMES).values()
        assert values == distributed.from_main(values)
        if distributed.rank() == 0:
            output.write_text(json.dumps(values))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
