"""What happens around the steps: progress, logs, sample grids, checkpoints. None of it changes the training."""

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from tqdm import tqdm

from sarigan import distributed
from sarigan.device import to_device
from sarigan.errors import InputError
from sarigan.files.checkpoint import checkpoint_path, mark_best
from sarigan.files.run_log import RunLogger
from sarigan.runs.checkpoint_writer import CheckpointWriter
from sarigan.systems.style.group_statistics import group_statistics
from sarigan.visualization.image_grid import save_grid

if TYPE_CHECKING:
    from sarigan.training.trainer import Trainer


# Small images are enlarged until the grid is about this wide, in pixels.
SAMPLE_GRID_WIDTH = 768


class BrokenOffError(Exception):
    """A hook that communicates was asked to stop: the run ends here, on this rank without another word to the others."""


class Hook:
    """Called around the steps; does nothing unless overridden.

    Rank 0 has all hooks; the other ranks only those with `every_rank`, whose calls may communicate.
    """

    every_rank = False
    memory_setting = ""  # what to lower when it runs out of memory

    def before_training(self, trainer: "Trainer") -> None:
        """Before the first step of this start."""

    def after_step(self, trainer: "Trainer") -> None:
        """After every step; must not wait for the device unless it is due."""

    def after_training(self, trainer: "Trainer") -> None:
        """At the end, also after an exception."""


def interval_steps(kimg: float, batch_size: int) -> int:
    """The number of steps in `kimg` thousand images, at least one."""
    return max(1, round(kimg * 1000 / batch_size))


class ProgressHook(Hook):
    """A bar over images with their rate and the time left, to the total or to the time limit, whichever comes first.

    Training goes on, and saves at its end, when nobody reads stderr any more (BrokenPipeError).
    """

    def __init__(self) -> None:
        self.bar = tqdm(disable=True)  # until training begins

    def before_training(self, trainer: "Trainer") -> None:
        self.total = trainer.total_steps * trainer.batch_size
        with suppress(BrokenPipeError):
            self.bar = tqdm(
                total=self.total,
                initial=trainer.state.seen_images,
                unit="img",
                unit_scale=True,
                dynamic_ncols=True,
                smoothing=0.05,
                mininterval=1.0,
            )

    def after_step(self, trainer: "Trainer") -> None:
        limit = trainer.state.config.training.max_minutes
        if limit is not None:
            # At the mean rate so far, the limit ends the run after this many images.
            expected = round(trainer.state.seen_images * 60 * limit / trainer.state.seconds)
            self.bar.total = max(min(self.total, expected), trainer.state.seen_images)
        with suppress(BrokenPipeError):
            self.bar.update(trainer.state.seen_images - self.bar.n)  # backwards after a roll-back

    def after_training(self, trainer: "Trainer") -> None:
        with suppress(BrokenPipeError):
            self.bar.close()


class LogHook(Hook):
    """Each tick: means of the losses, R^2 of Q, the state of the groups, speed; stops the run on a non-finite loss."""

    every_rank = True

    def __init__(self, logger: RunLogger | None, tick_kimg: float) -> None:
        self.logger, self.tick_kimg = logger, tick_kimg

    def before_training(self, trainer: "Trainer") -> None:
        self.interval = interval_steps(self.tick_kimg, trainer.batch_size)
        self._start_tick(trainer)

    def _start_tick(self, trainer: "Trainer") -> None:
        self.tick_time, self.tick_images = time.perf_counter(), trainer.state.seen_images

    def after_step(self, trainer: "Trainer") -> None:
        if trainer.state.step % self.interval == 0 or trainer.is_finished():
            self.tick(trainer)

    def tick(self, trainer: "Trainer") -> None:
        """Write one line; waits for the device, and for the means of the other ranks."""
        trainer.check_finite()
        state = trainer.state
        scalars = with_information_r2(trainer.scalars.means())
        if self.logger is None:
            return
        if trainer.nonfinite.num_skipped:
            scalars["nonfinite/skipped_steps"] = float(trainer.nonfinite.num_skipped)
        scalars |= group_statistics(state.generator, state.average.module)
        seconds = time.perf_counter() - self.tick_time
        if state.seen_images > self.tick_images:
            scalars["speed/images_per_second"] = (state.seen_images - self.tick_images) / seconds
        if state.precision.device.type == "cuda":
            scalars["memory/peak_gib"] = torch.cuda.max_memory_allocated(state.precision.device) / 2**30
        self.logger.log(state.step, state.seen_kimg, state.seconds, scalars)
        self._start_tick(trainer)


def with_information_r2(means: dict[str, float]) -> dict[str, float]:
    """Replace mean squared error and variance of the Q head's target by R^2 = 1 - MSE / Var beside the MSE."""
    means = dict(means)
    for phase in ("d", "g"):
        variance = means.pop(f"information/variance_{phase}", 0.0)
        if variance > 0:
            means[f"information/r2_{phase}"] = 1 - means[f"information/mse_{phase}"] / variance
    return means


class SampleHook(Hook):
    """A grid of EMA images from fixed latents and fixed noise: at the start of the run, every N kimg, at the end."""

    def __init__(self, logger: RunLogger, folder: Path, num_samples: int, sample_kimg: float) -> None:
        self.logger, self.folder, self.num_samples, self.sample_kimg = logger, folder, num_samples, sample_kimg

    def before_training(self, trainer: "Trainer") -> None:
        self.interval = interval_steps(self.sample_kimg, trainer.batch_size)
        if trainer.state.step == 0:
            self.save(trainer)

    def after_step(self, trainer: "Trainer") -> None:
        if trainer.state.step % self.interval == 0 or trainer.is_finished():
            self.save(trainer)

    @torch.no_grad()
    def save(self, trainer: "Trainer") -> None:
        """Write <folder>/<kimg>.png."""
        generator = trainer.state.average.module
        source = torch.Generator().manual_seed(0)
        z = torch.randn(self.num_samples, generator.config.z_dim, generator=source)
        (z,) = to_device([z], trainer.device, trainer.dtype)
        size = min(16, trainer.plan.images_per_pass)
        images = torch.cat([generator(part, noise="fixed").images for part in z.split(size)])
        grid = save_grid(images, self.folder / f"{trainer.state.seen_images:09d}.png", min_width=SAMPLE_GRID_WIDTH)
        self.logger.log_image(trainer.state.step, "samples", grid)


class CheckpointHook(Hook):
    """A checkpoint every N kimg and at the end, unless the losses went non-finite; keeps the newest few, and the best."""

    every_rank = True

    def __init__(self, folder: Path, checkpoint_kimg: float, keep: int) -> None:
        self.folder, self.checkpoint_kimg, self.keep = folder, checkpoint_kimg, keep
        self.writer = CheckpointWriter(folder, keep)
        self.saved_step: int | None = None

    def before_training(self, trainer: "Trainer") -> None:
        self.interval = interval_steps(self.checkpoint_kimg, trainer.batch_size)
        self.saved_step = trainer.state.step or None  # what a run goes on from is saved

    def after_step(self, trainer: "Trainer") -> None:
        self.writer.poll()
        if trainer.state.step % self.interval == 0 or trainer.is_finished():
            self.save(trainer)

    def save(self, trainer: "Trainer") -> None:
        """Begin to write <folder>/checkpoint-<step>.pt, unless that step's is; rank 0 writes for all."""
        if self.saved_step == trainer.state.step:
            return
        trainer.check_finite()
        if distributed.is_main():
            trainer.state.average.module.update_mean_latent()
            self.writer.submit(trainer.state.state_dict())
        self.saved_step = trainer.state.step

    def mark_best(self, trainer: "Trainer", metric: str, value: float) -> None:
        """Save this step, wait for the file, and keep it as the best until another is. For rank 0."""
        self.save(trainer)
        self.writer.wait()
        mark_best(checkpoint_path(self.folder, trainer.state.step), metric, value)

    def after_training(self, trainer: "Trainer") -> None:
        # A lost image, a second Ctrl-C: whatever ends a run between two steps, all that was trained is there to be saved.
        if trainer.state.step and not trainer.in_step and not self.writer.failed:
            with suppress(InputError):
                self.save(trainer)
        self.writer.wait()
