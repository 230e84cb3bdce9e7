"""The training loop: phases in order, then the average, then whatever the hooks want."""

import math
import time
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from sarigan import distributed
from sarigan.data.loader import ImageDataset, to_unit_range, training_batches
from sarigan.ema import ema_decay
from sarigan.errors import InputError
from sarigan.training.hooks import Hook
from sarigan.training.host_memory import keep_freed_memory
from sarigan.training.phase import Phase, Scalars, Shard
from sarigan.training.randomness import Randomness
from sarigan.training.state import TrainingState


def build_phases(state: TrainingState) -> list[Phase]:
    """The phases of a step in their order; those of weight 0 are left out."""
    objective, config = state.objective, state.config.objective
    batch_size = state.config.training.batch_size
    discriminator_parameters = list(state.discriminator.parameters())
    recognition = state.discriminator.recognition
    codes_only = {id(p) for p in recognition.parameters()} if recognition is not None else set()
    phases = [
        Phase(
            "discriminator", objective.discriminator_phase, state.discriminator, discriminator_parameters,
            state.discriminator_optimizer, batch_size=batch_size, needs_real_images=True,
        )
    ]  # fmt: skip
    if config.r1_gamma:
        trunk_and_head = [p for p in discriminator_parameters if id(p) not in codes_only]
        phases.append(
            Phase(
                "r1", objective.r1_phase, state.discriminator, trunk_and_head, state.discriminator_optimizer,
                interval=config.r1_interval, needs_real_images=True,
            )
        )  # fmt: skip
    phases.append(
        Phase(
            "generator", objective.generator_phase, state.generator, state.generator_parameters,
            state.generator_optimizer, batch_size=batch_size,
        )
    )  # fmt: skip
    if config.path_length_weight:
        phases.append(
            Phase(
                "path_length", objective.path_length_phase, state.generator, state.generator_parameters,
                state.generator_optimizer, interval=config.path_length_interval,
                batch_size=max(1, batch_size // config.path_length_batch_shrink), needs_image_noise=True,
                after=objective.after_path_length,
            )
        )  # fmt: skip
    if state.grouping_optimizer is not None:
        freeze = state.config.generator.grouping.freeze_kimg
        phases.append(
            Phase(
                "grouping", objective.grouping_phase, state.generator, state.grouping_parameters,
                state.grouping_optimizer,
                until_step=None if freeze is None else math.ceil(freeze * 1000 / batch_size),
            )
        )  # fmt: skip
    return phases


class ScalarSums:
    """Sums and counts of logged scalars on the device, so that a step never waits for it."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, scalars: Scalars) -> None:
        """Count each scalar once."""
        for name, value in scalars.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value
            self.counts[name] = self.counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        """Means since the last call; one transfer from the device."""
        if not self.sums:
            return {}
        values = torch.stack([value.double() for value in self.sums.values()]).tolist()
        means = {name: value / self.counts[name] for name, value in zip(self.sums, values, strict=True)}
        self.sums, self.counts = {}, {}
        return means


class Trainer:
    """Runs a `TrainingState` over a data set; hooks are called before the first step, after every step, at the end."""

    def __init__(self, state: TrainingState, dataset: ImageDataset, hooks: Sequence[Hook] = ()) -> None:
        self.state, self.dataset, self.hooks = state, dataset, hooks
        training = state.config.training
        self.batch_size, self.rounds = training.batch_size, training.accumulation_rounds
        self.device, self.dtype = state.precision.device, state.precision.parameter_dtype
        if self.device.type == "cpu":
            keep_freed_memory()
        self.phases = build_phases(state)
        self.randomness = Randomness(training.seed, state.generator, state.config.objective, self.device, self.dtype)
        self.scalars = ScalarSums()
        self.total_steps = math.ceil(training.total_kimg * 1000 / training.batch_size)
        self.stop_requested = self.stopping = False
        # 1 + step * number of phases + phase of the first non-finite loss; 0: none so far.
        self.first_nonfinite = torch.zeros((), dtype=torch.int64, device=self.device)

    def run(self) -> None:
        """Train until the total, the time limit, or a request to stop."""
        batches = training_batches(
            self.dataset, self.state.config.data, self.state.config.training.seed, self.state.seen_images,
            self.batch_size, distributed.rank(), distributed.world_size(), self.rounds, self.device.type == "cuda",
        )  # fmt: skip
        try:
            for hook in self.hooks:
                hook.before_training(self)
            while not self.is_finished():
                start = time.perf_counter()
                self.train_step(batches)
                self.state.seconds += time.perf_counter() - start
                # Looked at once a step: a signal that arrives among the hooks may not end the run behind their backs.
                self.stopping = self.stop_requested
                for hook in self.hooks:
                    hook.after_step(self)
        finally:
            for hook in self.hooks:
                hook.after_training(self)

    def is_finished(self) -> bool:
        """Whether no further step is to be made."""
        limit = self.state.config.training.max_minutes
        out_of_time = limit is not None and self.state.seconds >= 60 * limit
        return self.stopping or out_of_time or self.state.step >= self.total_steps

    def train_step(self, batches: Iterator[Tensor]) -> None:
        """Every phase that is due, then the average of the generator."""
        real_images = to_unit_range(next(batches), self.device, self.dtype)
        for index, phase in enumerate(self.phases):
            if phase.is_due(self.state.step):
                self.run_phase(index, phase, real_images)
        training = self.state.config.training
        self.state.step += 1
        decay = ema_decay(self.batch_size, training.ema_half_life_kimg, self.state.seen_kimg, training.ema_ramp_up)
        self.state.average.update(self.state.generator, decay)

    def run_phase(self, index: int, phase: Phase, real_images: Tensor) -> None:
        """Forward and backward for each round, one optimiser step."""
        for module in (self.state.generator, self.state.discriminator):
            module.requires_grad_(module is phase.module)
        shards = self._shards(phase, real_images)
        sums = ScalarSums()
        for shard in shards:
            loss, scalars = phase.loss(shard)
            (loss / len(shards)).backward()
            sums.add(scalars)
            self._note_nonfinite(index, loss.detach())
        owned = {id(p) for p in phase.parameters}
        for parameter in phase.module.parameters():
            if id(parameter) not in owned:
                parameter.grad = None
        phase.optimizer.step()
        phase.module.zero_grad(set_to_none=True)
        means = {name: value / sums.counts[name] for name, value in sums.sums.items()}
        if phase.after is not None:
            phase.after(means)
        self.scalars.add(means)

    def _shards(self, phase: Phase, real_images: Tensor) -> list[Shard]:
        if not phase.batch_size and not phase.needs_real_images:
            return [Shard(None, None)]
        draws = None
        if phase.batch_size:
            draws = self.randomness.draw(phase.name, self.state.step, phase.batch_size, phase.needs_image_noise)
        rounds = min(self.rounds, phase.batch_size) if phase.batch_size else self.rounds
        while phase.batch_size % rounds:
            rounds -= 1
        reals = real_images.chunk(rounds) if phase.needs_real_images else [None] * rounds
        return [Shard(reals[index], None if draws is None else draws.shard(index, rounds)) for index in range(rounds)]

    def _note_nonfinite(self, phase_index: int, loss: Tensor) -> None:
        code = 1 + self.state.step * len(self.phases) + phase_index
        is_first = (self.first_nonfinite == 0) & ~torch.isfinite(loss)
        self.first_nonfinite = torch.where(is_first, code, self.first_nonfinite)

    def check_finite(self) -> None:
        """InputError naming the step and phase of the first non-finite loss, if there was one. Waits for the device."""
        code = int(self.first_nonfinite)
        advice = (
            "stopped before saving. The last checkpoint is good; lower the learning rates, raise objective.r1_gamma,"
            " or use float32"
        )
        if code:
            step, phase = divmod(code - 1, len(self.phases))
            name = self.phases[phase].name
            raise InputError(f"training: the loss of phase {name} became non-finite in step {step}; {advice}")
        # A finite loss can have a gradient that is not, and only the next step's losses would show it.
        weights = [*self.state.generator.parameters(), *self.state.discriminator.parameters()]
        if not torch.stack([weight.detach().isfinite().all() for weight in weights]).all():
            raise InputError(f"training: weights became non-finite before step {self.state.step}; {advice}")
