"""The training loop: phases in order, then the average, then whatever the hooks want."""

import enum
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from ops.host_memory import keep_freed_memory
from sarigan import distributed
from sarigan.data.loader import ImageDataset, to_unit_range, training_batches
from sarigan.runs.out_of_memory import hook_out_of_memory, is_out_of_memory, out_of_memory_error
from sarigan.systems.style.phases import build_phases
from sarigan.training.batch_plan import plan_batch
from sarigan.training.ema import ema_decay
from sarigan.training.gradient_average import average_gradients
from sarigan.training.hooks import BrokenOffError, Hook
from sarigan.training.nonfinite import NonfiniteCounter, NonfiniteError, gradients_are_finite, poison_nonfinite
from sarigan.training.phase import Phase, Shard
from sarigan.training.randomness import Randomness
from sarigan.training.scalars import ScalarSums
from sarigan.training.state import TrainingState
from sarigan.training.warm_up import settle_buckets


class Stop(enum.IntEnum):
    """Why a run ends before its total."""

    NOT = 0
    TIME = 1  # training.max_minutes
    REQUEST = 2  # a signal: be quick


class Trainer:
    """Runs a `TrainingState` over a data set; hooks are called before the first step, after every step, at the end."""

    def __init__(self, state: TrainingState, dataset: ImageDataset, hooks: Sequence[Hook] = ()) -> None:
        self.state, self.dataset = state, dataset
        self.hooks = [hook for hook in hooks if hook.every_rank or distributed.is_main()]
        training = state.config.training
        self.plan = plan_batch(training, distributed.world_size())
        self.batch_size, self.rounds = self.plan.batch_size, self.plan.num_rounds
        self.device, self.dtype = state.precision.device, state.precision.parameter_dtype
        if self.device.type == "cpu":
            keep_freed_memory()
        state.objective.trained_generator = distributed.replicate(state.generator, apart=state.grouping_parameters)
        state.objective.trained_discriminator = distributed.replicate(state.discriminator)
        networks: tuple[nn.Module, ...] = (state.generator, state.discriminator)
        self.parameters = {module: list(module.parameters()) for module in networks}
        self.phases = build_phases(state)
        self.randomness = Randomness(training.seed, state.generator, state.config.objective, self.device, self.dtype)
        self.scalars = ScalarSums()
        self.nonfinite = NonfiniteCounter([phase.name for phase in self.phases], self.device)
        self.total_steps = math.ceil(training.total_kimg * 1000 / training.batch_size)
        self.stop_requested = False
        self.in_step = False  # whether weights are being changed
        self.vote = distributed.Vote()
        # Of a watchdog: where this process is; that it leaves others that wait for it. And what to do when too many steps were
        # not finite: whether to go on.
        self.mark: Callable[[str], None] = lambda where: None
        self.post_stop: Callable[[], None] = lambda: None
        self.roll_back: Callable[[NonfiniteError], bool] = lambda error: False
        self.stopping = self._wish()

    def run(self) -> None:
        """Train until the total, the time limit, or a request to stop of any process."""
        out_of_memory = False
        try:
            settle_buckets(self)
            self._call_hooks(lambda hook: hook.before_training(self))
            while not self._train():
                pass
        except BrokenOffError:
            pass  # whatever had to be saved was saved before
        except RuntimeError as error:
            out_of_memory = is_out_of_memory(error)
            if not out_of_memory:
                raise
        finally:
            for hook in self.hooks:
                hook.after_training(self)
        if out_of_memory:
            raise out_of_memory_error(self)

    def _call_hooks(self, call: Callable[[Hook], None]) -> None:
        for hook in self.hooks:
            try:
                call(hook)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                raise hook_out_of_memory(self, hook) from None

    def _train(self) -> bool:
        """Steps to the end: true; or until a roll-back: false."""
        batches = training_batches(
            self.dataset, self.state.config.data, self.state.config.training.seed, self.state.seen_images,
            self.batch_size, distributed.rank(), distributed.world_size(), self.rounds, self.device.type == "cuda",
        )  # fmt: skip
        try:
            while not self.is_finished():
                start = time.perf_counter()
                self.train_step(batches)
                self.state.seconds += time.perf_counter() - start
                # Looked at once a step: a signal that arrives among the hooks may not end the run behind their backs.
                self.stopping = Stop(self.vote.cast(self._wish()))
                self.mark("hooks")
                self._call_hooks(lambda hook: hook.after_step(self))
        except NonfiniteError as error:
            if not self.roll_back(error):
                raise
            self.nonfinite.reset()
            self.scalars = ScalarSums()
            return False
        finally:
            batches.close()
            self.vote.close()
        return True

    def is_finished(self) -> bool:
        """Whether no further step is to be made; the same on every rank."""
        return self.stopping != Stop.NOT or self.state.step >= self.total_steps

    def is_interrupted(self) -> bool:
        """Whether the run ends because it was asked to; the same on every rank."""
        return self.stopping == Stop.REQUEST

    def _wish(self) -> Stop:
        """Of this rank alone."""
        if self.stop_requested:
            return Stop.REQUEST
        limit = self.state.config.training.max_minutes
        return Stop.TIME if limit is not None and self.state.seconds >= 60 * limit else Stop.NOT

    def train_step(self, batches: Iterator[Tensor]) -> None:
        """Every phase that is due, then the average of the generator."""
        self.mark(f"in step {self.state.step}, waiting for images")
        real_images = to_unit_range(next(batches), self.device, self.dtype, self.state.precision.layout)
        self.in_step = True
        for index, phase in enumerate(self.phases):
            if phase.is_due(self.state.step):
                self.mark(f"in step {self.state.step}, phase {phase.name}")
                self.run_phase(index, phase, real_images)
        self.nonfinite.end_step(self.state.step)
        training = self.state.config.training
        self.state.step += 1
        decay = ema_decay(self.batch_size, training.ema_half_life_kimg, self.state.seen_kimg, training.ema_ramp_up)
        self.state.average.update(self.state.generator, decay)
        self.in_step = False

    def run_phase(self, index: int, phase: Phase, real_images: Tensor) -> None:
        """Forward and backward for each round, one optimiser step, or none when a loss or gradient is not finite."""
        sums = self.accumulate_gradients(phase, self._shards(phase, real_images))
        for parameter in phase.other_parameters:
            parameter.grad = None
        skipped = ~gradients_are_finite(phase.parameters)
        self.nonfinite.note(index, skipped)
        phase.optimizer.found_inf = skipped.float()  # type: ignore[attr-defined]
        phase.optimizer.step()
        for parameter in phase.parameters:
            parameter.grad = None
        if phase.after is not None:
            phase.after(sums.reduced_means())
        self.scalars.merge(sums, skipped)

    def accumulate_gradients(self, phase: Phase, shards: list[Shard]) -> ScalarSums:
        """Gradients of the mean loss over all shards of all ranks, reduced in the last round only; the rounds' scalars."""
        for module, parameters in self.parameters.items():
            for parameter in parameters:
                parameter.requires_grad_(module is phase.module)
        objective = self.state.objective
        replica = objective.trained_generator if phase.module is self.state.generator else objective.trained_discriminator
        scale = self.state.precision.loss_scale
        sums = ScalarSums()
        for number, shard in enumerate(shards, start=1):
            with nullcontext() if number == len(shards) else distributed.without_reduction(replica):
                loss, scalars = phase.loss(shard)
                poison_nonfinite(loss, scale * shard.weight / len(shards)).backward()
            sums.add(scalars, shard.weight)
        if not phase.uses_replica:
            average_gradients(phase.parameters)
        if scale != 1:
            torch._foreach_mul_([p.grad for p in self.parameters[phase.module] if p.grad is not None], 1 / scale)
        return sums

    def _shards(self, phase: Phase, real_images: Tensor) -> list[Shard]:
        """This rank's part of a phase, a shard a round."""
        if not phase.batch_size and not phase.needs_real_images:
            return [Shard(None, None)]
        if not phase.batch_size:
            return [Shard(images, None) for images in real_images.chunk(self.rounds)]
        draws = self.randomness.draw(
            phase.name, self.state.step, phase.batch_size, phase.needs_image_noise, self.state.num_rollbacks
        )
        rounds = self.rounds if phase.needs_real_images else self._rounds_for(phase.batch_size)
        reals = real_images.chunk(rounds) if phase.needs_real_images else [None] * rounds
        num_shards = distributed.world_size() * rounds
        shards = []
        for index, images in enumerate(reals):
            position = distributed.rank() * rounds + index
            part = draws.shard(position % phase.batch_size, num_shards)
            # A shard beyond the batch takes part with weight zero: every rank must meet in the reduction.
            size = len(part.z) if position < phase.batch_size else 0
            shards.append(Shard(images, part, weight=size * num_shards / phase.batch_size))
        return shards

    def _rounds_for(self, batch_size: int) -> int:
        """The fewest rounds that hold no more images a pass than the whole batch's do."""
        return max(1, math.ceil(batch_size / (distributed.world_size() * self.plan.images_per_pass)))

    def check_finite(self) -> None:
        """NonfiniteError naming step and phase when too many steps in a row were skipped. Waits for the device."""
        weights = [weight.detach() for parameters in self.parameters.values() for weight in parameters]
        # Skipping keeps the weights finite; the rest would be a fault of memory or of an operator.
        if not self.nonfinite.check(self.state.config.training.max_nonfinite_steps, weights):
            raise NonfiniteError(f"training: weights became non-finite before step {self.state.step}; stopped before saving")
