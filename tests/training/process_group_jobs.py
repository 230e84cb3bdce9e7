"""What each process of tests/training/test_distributed.py runs: python process_group_jobs.py <jobs.json>, under a launcher.

A job is a list of configuration files trained one after the other in one run directory, as after as many interruptions.
With `unlike_gradients` the two ranks' gradients of the group logits differ, and have the usual mean.
"""

import json
import logging
import sys
from pathlib import Path

import torch
from torch import Tensor

from sarigan import distributed
from sarigan.config import load_config
from sarigan.runs import run
from sarigan.systems.style.objective import GanObjective
from sarigan.systems.system import Scalars, Shard
from sarigan.training.state import TrainingState

GROUPING_PHASE = GanObjective.grouping_phase


def with_noise(build: type[TrainingState]) -> None:
    """Noise strengths start at 0, which would hide how noise is dealt out; they are given values here."""
    constructed = build.__init__

    def patched(self: TrainingState, *arguments: object) -> None:
        constructed(self, *arguments)
        with torch.no_grad():
            for network in (self.system.generator, self.system.average.module):
                strengths = [p for name, p in network.named_parameters() if name.endswith("noise.strength")]
                for index, strength in enumerate(strengths):
                    strength.fill_(0.1 * (index + 1))

    build.__init__ = patched  # type: ignore[method-assign]


def unlike_gradients(self: GanObjective, shard: Shard) -> tuple[Tensor, Scalars]:
    """The grouping phase with something added to the gradients on rank 0 that rank 1 takes away."""
    loss, scalars = GROUPING_PHASE(self, shard)
    sign = 1 - 2 * distributed.rank()
    for parameter in self.generator.grouping_parameters():
        slope = torch.linspace(-1e-6, 1e-6, parameter.numel(), dtype=parameter.dtype).view_as(parameter)
        loss = loss + sign * (parameter * slope).sum()
    return loss, scalars


def fingerprint(state: TrainingState) -> list[float]:
    """Equal on two ranks only if all their weights are."""
    system = state.system
    modules = [*system.networks.values(), *(average.module for average in system.averages.values())]
    weights = [weight for module in modules for weight in module.parameters()]
    return [float(weight.detach().double().sum()) for weight in weights]


def main() -> None:
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with_noise(TrainingState)
    with distributed.rank_main(), distributed.process_group(timeout_seconds=120):
        for job in json.loads(Path(sys.argv[1]).read_text()):
            grouping_phase = unlike_gradients if job["unlike_gradients"] else GROUPING_PHASE
            GanObjective.grouping_phase = grouping_phase  # type: ignore[method-assign]
            for file in job["configs"]:
                trainer = run.train(load_config(file), Path(job["run_dir"]))
                prints = distributed.gather_objects(fingerprint(trainer.state))
                assert all(one == prints[0] for one in prints), "ranks have drifted apart"


if __name__ == "__main__":
    main()
