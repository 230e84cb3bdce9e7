"""What a run will take: time from a few timed steps on few images, memory counted, disk from the sizes of its files.

A phase is timed on NUM_IMAGES images and counts batch / NUM_IMAGES / interval times. Passes of more images are more efficient
on large devices, loading images and writing files come on top, and processes that share a batch are not tried.
"""

import dataclasses
import math
import statistics
from pathlib import Path

import torch

from sarigan import distributed
from sarigan.config import Config
from sarigan.data.loader import ImageDataset
from sarigan.diagnosis.scaling import checkpoint_size, count_step
from sarigan.diagnosis.step_benchmark import timed
from sarigan.progress import duration_text
from sarigan.runs.summary import num_files, size_text
from sarigan.training.batch_plan import plan_batch
from sarigan.training.cuda_graphs import WARM_UP
from sarigan.training.precision import resolve_precision
from sarigan.training.state import TrainingState
from sarigan.training.trainer import Trainer

NUM_IMAGES = 4
REPEATS = 3  # after those that warm up; the median counts
MAX_CPU_RESOLUTION = 256  # beyond it a step of four images takes minutes on a CPU


def estimate_lines(config: Config, dataset: ImageDataset, run_dir: Path, num_ranks: int | None = None) -> list[str]:
    """Lines on time, memory and disk of a run on so many processes. The networks are built anew, and thrown away."""
    plan = plan_batch(config.training, num_ranks or distributed.world_size())
    on_cpu = resolve_precision(config.training).device.type == "cpu"
    if distributed.world_size() > 1:
        time = "not estimated: --dry-run on one process times steps"
    elif on_cpu and config.resolution > MAX_CPU_RESOLUTION:
        time = f"not estimated: a trial at {config.resolution} px takes minutes on a CPU"
    else:
        time = time_text(config, seconds_of_step(config, dataset))
    return [
        f"time: {time}",
        f"memory: {size_text(count_step(config).memory_bytes(plan))} a process, counted; PyTorch itself comes on top",
        f"disk: {num_files(config)} checkpoints of {size_text(checkpoint_size(config))} in {run_dir}",
    ]


def time_text(config: Config, seconds: float) -> str:
    """The time of a run whose steps take so many seconds on one process."""
    training = config.training
    whole = seconds * math.ceil(training.total_kimg * 1000 / training.batch_size)
    text = f"about {seconds:.3g} s a step on one process, {duration_text(whole)} to training.total_kimg={training.total_kimg:g}"
    if training.max_minutes is not None and 60 * training.max_minutes < whole:
        reached = 60 * training.max_minutes / seconds * training.batch_size / 1000
        text += f"; training.max_minutes={training.max_minutes:g} ends it at about {reached:.3g} kimg"
    return f"{text} (from steps of {NUM_IMAGES} images, without loading)"


def seconds_of_step(config: Config, dataset: ImageDataset) -> float:
    """The time of a whole step, lazy phases spread over their intervals."""
    unit = max(NUM_IMAGES, config.shard_multiple)
    small = dataclasses.replace(
        config.training, batch_size=unit, accumulation_rounds=1, max_images_per_pass=None, images_per_rank=None, cpu_processes=1
    )
    state = TrainingState(dataclasses.replace(config, training=small), resolve_precision(small))
    trainer = Trainer(state, dataset)
    trainer.record_phases()
    num_first = 1 if trainer.graphs is None else WARM_UP + 1  # updates that count for nothing
    batch = state.system.example_batch(unit, trainer.device, trainer.dtype)
    noise = torch.rand(batch.images.shape, device=trainer.device).mul(2).sub(1)
    batch.images = noise.to(trainer.dtype, memory_format=state.precision.layout)
    total = 0.0
    for index, phase in enumerate(trainer.phases):
        times = [timed(lambda: trainer.run_phase(index, phase, batch), trainer.device) for _ in range(REPEATS + num_first)]  # noqa: B023
        seen = config.training.batch_size / unit if phase.draw is not None or phase.needs_real_images else 1.0
        total += statistics.median(times[num_first:]) * seen / phase.interval
    return total
