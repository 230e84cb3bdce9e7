"""What happens around the steps: warm-up, progress, the log, sample grids. None of it changes the training."""

import json
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from sarigan import distributed
from sarigan.data.loader import ImageDataset
from sarigan.errors import InputError
from sarigan.files.paths import replace_text
from sarigan.files.reading import json_object
from sarigan.files.run_record import REALS_NAME
from sarigan.progress import progress_bar
from sarigan.systems.system import Shard
from sarigan.training.trainer import Hook, Trainer
from sarigan.visualization.sheet import save_grid

# Small images are enlarged until the grid is about this wide, in pixels.
SAMPLE_GRID_WIDTH = 768
NUM_LOSSES = 3  # behind the bar
SHORT = {"discriminator": "D", "generator": "G", "reconstruction": "L1"}


class RunLogger:
    """Writes a line a tick to <run>/log.jsonl and <run>/tensorboard. Lines of steps after `resume_step` are dropped first."""

    def __init__(self, run_dir: Path, resume_step: int = 0) -> None:
        self.path, self.folder = run_dir / "log.jsonl", run_dir / "tensorboard"
        self.writer = self._opened(resume_step)

    def _opened(self, step: int) -> SummaryWriter:
        if self.path.exists():
            lines = [line for line in self.path.read_bytes().splitlines() if _step(line) <= step]
            replace_text(self.path, "".join(f"{line.decode()}\n" for line in lines))
        return SummaryWriter(str(self.folder), purge_step=step + 1 if step else 0)

    def drop_after(self, step: int) -> None:
        """Forget what was logged of later steps, which are made anew."""
        self.writer.close()
        self.writer = self._opened(step)

    def log(self, step: int, kimg: float, seconds: float, scalars: dict[str, float]) -> None:
        """One tick: kimg thousand images seen, seconds of training over all starts."""
        with open(self.path, "a") as file:
            file.write(json.dumps({"step": step, "kimg": kimg, "seconds": round(seconds, 2), **scalars}) + "\n")
        for name, value in scalars.items():
            self.writer.add_scalar(name, value, step)

    def log_image(self, step: int, name: str, image: np.ndarray) -> None:
        """image uint8 [H,W,3]."""
        self.writer.add_image(name, image, step, dataformats="HWC")

    def close(self) -> None:
        """Flush everything."""
        self.writer.close()


def _step(line: bytes) -> float:
    """The step of a line; a line that a crash cut short or a disk spoilt counts as later than any."""
    step = json_object(line).get("step")
    return step if isinstance(step, int) else float("inf")


class WarmUpHook(Hook):
    """Discarded passes before the first step over several processes, at a start and at every resume alike.

    DistributedDataParallel sorts its buckets anew after its first iteration, by the order in which gradients arrived. The
    order in which four ranks' numbers are summed depends on a number's place in its bucket, so a resumed run would differ in
    the last bits unless it begins with the buckets that the uninterrupted one ended up with. Two passes of each network's
    first phase on the same inputs settle them; no weight, buffer, optimiser or counter moves, and nothing is drawn from a
    global generator.
    """

    every_rank = True
    num_passes = 2

    def before_training(self, trainer: Trainer) -> None:
        """Make the passes; a single process makes none."""
        if distributed.world_size() == 1:
            return
        buffers = [buffer for network in trainer.system.networks.values() for buffer in network.buffers()]
        before = [buffer.clone() for buffer in buffers]
        first = {phase.network: phase for phase in reversed(trainer.phases)}  # of every network, its first phase
        for phase in [phase for phase in trainer.phases if first[phase.network] is phase]:
            for _ in range(self.num_passes):
                batch = trainer.system.example_batch(1, trainer.device, trainer.dtype)
                draws = None if phase.draw is None else phase.draw("warm-up", 0, 1, 0)
                trainer.gradients.accumulate(phase, [Shard(batch, draws)])
                trainer.system.networks[phase.network].zero_grad(set_to_none=True)
        for buffer, value in zip(buffers, before, strict=True):
            buffer.copy_(value)


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
        self.has_begun = False
        with suppress(BrokenPipeError):
            self.bar = progress_bar(
                total=self.total,
                initial=trainer.state.seen_images,
                unit="img",
                unit_scale=True,
                dynamic_ncols=True,
                smoothing=0.05,
                mininterval=1.0,
            )

    def show(self, values: dict[str, float]) -> None:
        """Put the losses of a tick behind the bar."""
        losses = [(name.removeprefix("loss/"), value) for name, value in values.items() if name.startswith("loss/")]
        shown = ", ".join(f"{SHORT.get(name, name)} {value:.3g}" for name, value in losses[:NUM_LOSSES])
        with suppress(BrokenPipeError):
            self.bar.set_postfix_str(shown, refresh=False)

    def after_step(self, trainer: Trainer) -> None:
        if not self.has_begun:
            self.bar.unpause()  # what came before, such as an evaluation, is no time of training
            self.has_begun = True
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

    def __init__(self, logger: RunLogger | None, tick_kimg: float, progress: ProgressHook | None = None) -> None:
        self.logger, self.tick_kimg, self.progress = logger, tick_kimg, progress

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
        scalars = trainer.system.log_values(means) | state.augmentation.log_values()
        if self.progress is not None:
            self.progress.show(scalars)
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
        if not (self.folder.parent / REALS_NAME).exists():
            save_reals(trainer.dataset, self.num_samples, self.folder.parent / REALS_NAME)

    def after_step(self, trainer: Trainer) -> None:
        if trainer.state.step % self.interval == 0 or trainer.is_finished():
            self.save(trainer)

    @torch.no_grad()
    def save(self, trainer: Trainer) -> None:
        """Write <folder>/<kimg>.png."""
        images = torch.cat(list(trainer.system.sample_images(self.num_samples, min(16, trainer.plan.images_per_pass))))
        grid = save_grid(images, self.folder / f"{trainer.state.seen_images:09d}.png", min_width=SAMPLE_GRID_WIDTH)
        self.logger.log_image(trainer.state.step, "samples", grid)


def save_reals(dataset: ImageDataset, num_images: int, path: Path) -> None:
    """A grid of images of the data set, spread evenly over it; draws no random number. A broken image is training's to name."""
    with suppress(InputError):
        indices = range(0, len(dataset), max(1, len(dataset) // num_images))[:num_images]
        save_grid(torch.stack([torch.from_numpy(np.array(dataset[i])) for i in indices]), path, min_width=SAMPLE_GRID_WIDTH)
