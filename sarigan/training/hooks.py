"""What happens around the steps: warm-up, progress, logs, sample grids. None of it changes the training."""

import time
from contextlib import suppress
from pathlib import Path

import torch
from tqdm import tqdm

from sarigan import distributed
from sarigan.files.run_log import RunLogger
from sarigan.systems.system import Shard
from sarigan.training.trainer import Hook, Trainer
from sarigan.visualization.sheet import save_grid

# Small images are enlarged until the grid is about this wide, in pixels.
SAMPLE_GRID_WIDTH = 768


class WarmUpHook(Hook):
    """Discarded passes before the first step over several processes, at a start and at every resume alike.

    DistributedDataParallel sorts its buckets anew after its first iteration, by the order in which gradients arrived. The
    order in which four ranks' numbers are summed depends on a number's place in its bucket, so a resumed run would differ in
    the last bits unless it begins with the buckets that the uninterrupted one ended up with. Two passes of each network's
    first phase on the same inputs settle them; no weight, optimiser or counter moves, and nothing is drawn from a global
    generator.
    """

    every_rank = True
    num_passes = 2

    def before_training(self, trainer: Trainer) -> None:
        """Make the passes; a single process makes none."""
        if distributed.world_size() == 1:
            return
        first = {phase.network: phase for phase in reversed(trainer.phases)}  # of every network, its first phase
        for phase in [phase for phase in trainer.phases if first[phase.network] is phase]:
            for _ in range(self.num_passes):
                batch = trainer.system.example_batch(1, trainer.device, trainer.dtype)
                draws = None if phase.draw is None else phase.draw("warm-up", 0, 1, 0)
                trainer.gradients.accumulate(phase, [Shard(batch, draws)])
                trainer.system.networks[phase.network].zero_grad(set_to_none=True)


def interval_steps(kimg: float, batch_size: int) -> int:
    """The number of steps in `kimg` thousand images, at least one."""
    return max(1, round(kimg * 1000 / batch_size))


class ProgressHook(Hook):
    """A bar over images with their rate and the time left, to the total or to the time limit, whichever comes first.

    Training goes on, and saves at its end, when nobody reads stderr any more (BrokenPipeError).
    """

    def __init__(self) -> None:
        self.bar = tqdm(disable=True)  # until training begins

    def before_training(self, trainer: Trainer) -> None:
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

    def after_step(self, trainer: Trainer) -> None:
        limit = trainer.state.config.training.max_minutes
        if limit is not None:
            # At the mean rate so far, the limit ends the run after this many images.
            expected = round(trainer.state.seen_images * 60 * limit / trainer.state.seconds)
            self.bar.total = max(min(self.total, expected), trainer.state.seen_images)
        with suppress(BrokenPipeError):
            self.bar.update(trainer.state.seen_images - self.bar.n)  # backwards after a roll-back

    def after_training(self, trainer: Trainer) -> None:
        with suppress(BrokenPipeError):
            self.bar.close()


class LogHook(Hook):
    """Each tick: means of the losses, R^2 of Q, the state of the groups, speed; stops the run on a non-finite loss."""

    every_rank = True

    def __init__(self, logger: RunLogger | None, tick_kimg: float) -> None:
        self.logger, self.tick_kimg = logger, tick_kimg

    def before_training(self, trainer: Trainer) -> None:
        self.interval = interval_steps(self.tick_kimg, trainer.batch_size)
        self._start_tick(trainer)

    def _start_tick(self, trainer: Trainer) -> None:
        self.tick_time, self.tick_images = time.perf_counter(), trainer.state.seen_images

    def after_step(self, trainer: Trainer) -> None:
        if trainer.state.step % self.interval == 0 or trainer.is_finished():
            self.tick(trainer)

    def tick(self, trainer: Trainer) -> None:
        """Write one line; waits for the device, and for the means of the other ranks."""
        trainer.check_finite()
        state = trainer.state
        means = trainer.scalars.means()
        if self.logger is None:
            return
        scalars = trainer.system.log_values(means)
        if trainer.nonfinite.num_skipped:
            scalars["nonfinite/skipped_steps"] = float(trainer.nonfinite.num_skipped)
        seconds = time.perf_counter() - self.tick_time
        if state.seen_images > self.tick_images:
            scalars["speed/images_per_second"] = (state.seen_images - self.tick_images) / seconds
        if state.precision.device.type == "cuda":
            scalars["memory/peak_gib"] = torch.cuda.max_memory_allocated(state.precision.device) / 2**30
        self.logger.log(state.step, state.seen_kimg, state.seconds, scalars)
        self._start_tick(trainer)


class SampleHook(Hook):
    """A grid of the same samples of the averaged networks: at the start of the run, every N kimg, at the end."""

    def __init__(self, logger: RunLogger, folder: Path, num_samples: int, sample_kimg: float) -> None:
        self.logger, self.folder, self.num_samples, self.sample_kimg = logger, folder, num_samples, sample_kimg

    def before_training(self, trainer: Trainer) -> None:
        self.interval = interval_steps(self.sample_kimg, trainer.batch_size)
        if trainer.state.step == 0:
            self.save(trainer)

    def after_step(self, trainer: Trainer) -> None:
        if trainer.state.step % self.interval == 0 or trainer.is_finished():
            self.save(trainer)

    @torch.no_grad()
    def save(self, trainer: Trainer) -> None:
        """Write <folder>/<kimg>.png."""
        images = torch.cat(list(trainer.system.sample_images(self.num_samples, min(16, trainer.plan.images_per_pass))))
        grid = save_grid(images, self.folder / f"{trainer.state.seen_images:09d}.png", min_width=SAMPLE_GRID_WIDTH)
        self.logger.log_image(trainer.state.step, "samples", grid)
