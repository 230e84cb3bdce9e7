"""A tiny training job over several processes for drills: started in a second, killed at will.

Processes are forked from a server that has loaded PyTorch. Otherwise they are like those of a launcher: an environment with
RANK and WORLD_SIZE, a process group over TCP, and a session of their own, so that a rank's workers die with it.
"""

import logging
import multiprocessing
import os
import signal
import socket
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sarigan.config import Config, load_config
from sarigan.files.checkpoint import load_checkpoint, resolve_checkpoint

OVERRIDES = (
    "data.name=folder", "data.num_workers=0",
    "generator.resolution=8", "generator.z_dim=8", "generator.style_dim=8", "generator.mapping_layers=2",
    "generator.channel_base=32", "generator.channel_max=8", "generator.grouping.num_groups=3",
    "discriminator.channel_base=32", "discriminator.channel_max=8",
    "objective.r1_gamma=1", "objective.r1_interval=3", "objective.path_length_interval=2",
    "training.batch_size=8", "training.device=cpu", "training.precision=float32", "training.num_samples=1",
    "training.tick_kimg=0.04", "training.sample_kimg=100", "training.num_checkpoints=2",
)  # fmt: skip


def drill_config(folder: Path, steps: int, *overrides: str) -> Config:
    """A whole SariGAN in 8 px on images made up in `folder`."""
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    for index in range(24):
        pixels = np.random.default_rng(index).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(images / f"{index:02}.png")
    return load_config(None, [*OVERRIDES, f"data.path={images}", f"training.total_kimg={steps * 8 / 1000}", *overrides])


class DrillJob:
    """All ranks of one start of a run; stderr goes to <log>-<rank>.txt."""

    def __init__(self, config: Config, run_dir: Path, num_ranks: int, log: Path) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["sarigan.diagnosis.drill_job", "sarigan.runs.run"])
        with socket.socket() as place:
            place.bind(("127.0.0.1", 0))
            port = place.getsockname()[1]
        self.logs = [log.with_name(f"{log.name}-{rank}.txt") for rank in range(num_ranks)]
        self.ranks: list[BaseProcess] = []
        for rank, file in enumerate(self.logs):
            numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": num_ranks, "MASTER_PORT": port}
            variables = {"MASTER_ADDR": "127.0.0.1", **{name: str(value) for name, value in numbers.items()}}
            process = context.Process(target=run_rank, args=(config.to_yaml(), run_dir, variables, file))
            process.start()
            self.ranks.append(process)

    def kill(self, rank: int | None = None) -> None:
        """SIGKILL to one rank with its workers, or to all."""
        for process in self.ranks if rank is None else [self.ranks[rank]]:
            self.signal(process, signal.SIGKILL)

    def signal(self, process: BaseProcess, number: int) -> None:
        """A signal to a rank and its workers."""
        assert process.pid is not None
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:  # it ended, or has not begun
            if process.is_alive():
                os.kill(process.pid, number)

    def wait(self, timeout_seconds: float) -> bool:
        """Whether all ranks have ended within the time, in which a pause of the whole machine does not count."""
        for _ in range(round(timeout_seconds / 0.05)):
            if not any(process.is_alive() for process in self.ranks):
                return True
            time.sleep(0.05)
        return False

    def codes(self) -> list[int | None]:
        """Exit codes; minus the signal of a killed one."""
        return [process.exitcode for process in self.ranks]

    def errors(self) -> str:
        """The text that all ranks wrote."""
        return "\n".join(file.read_text(errors="replace") for file in self.logs if file.exists())


def run_rank(config_yaml: str, run_dir: Path, environment: dict[str, str], log: Path) -> None:
    """The main function of the process of one rank."""
    from sarigan import distributed
    from sarigan.runs.run import train

    os.setsid()
    with open(log, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.update(environment)
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = log.with_name(log.name + ".yaml")
    config.write_text(config_yaml)
    with distributed.rank_main(), distributed.process_group(timeout_seconds=120):
        train(load_config(config), run_dir)


def final_weights(run_dir: Path) -> dict[str, Tensor]:
    """Everything trained in the newest checkpoint, moments included."""
    state = load_checkpoint(resolve_checkpoint(run_dir))
    found = {f"{part}.{k}": v for part in ("generator", "discriminator", "ema_generator") for k, v in state[part].items()}
    for name in ("generator_optimizer", "discriminator_optimizer", "grouping_optimizer"):
        for index, moments in state[name]["state"].items():
            found |= {f"{name}.{index}.{key}": value for key, value in moments.items()}
    return found | {"mean_path_length": state["mean_path_length"], "step": torch.tensor(state["step"])}
