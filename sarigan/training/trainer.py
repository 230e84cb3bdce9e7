"""The training loop: the phases of a system in order, then its averages, then whatever the hooks want."""

import enum
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext

import torch
from torch import nn

from ops.host_memory import keep_freed_memory
from sarigan import distributed
from sarigan.data.batch import Batch
from sarigan.data.loader import ImageDataset, training_batches
from sarigan.models.ema import ema_decay
from sarigan.systems.system import Phase, Shard
from sarigan.training.batch_plan import plan_batch
from sarigan.training.nonfinite import NonfiniteCounter, NonfiniteError, gradients_are_finite, poison_nonfinite
from sarigan.training.scalars import ScalarSums
from sarigan.training.state import TrainingState


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace the gradients by their means over all processes, the same on every rank, in one reduction.

    Every process calls it with gradients of the same parameters, all of one type and device. Nothing for a single process.
    """
    if distributed.world_size() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    means = distributed.sum_over_ranks(flat) / distributed.world_size()
    for gradient, mean in zip(gradients, means.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


class StopReason(enum.IntEnum):
    """Why a run ends before its total."""

    NONE = 0
    TIME = 1  # training.max_minutes
    REQUEST = 2  # a signal: be quick


class StoppedInHookError(Exception):
    """Raised by a hook that communicates when it was asked to stop: this rank ends the run without further communication."""


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


class Supervisor:
    """What a trainer reports to. This one does nothing; `sarigan.runs.supervisor` has the one that a run uses."""

    def report_position(self, where: str) -> None:
        """Record that this process has reached a point that every rank reaches. Called several times a step: cheap."""

    def report_stop(self) -> None:
        """Record that this process stops, as it was asked to, while other ranks may wait for it."""

    def roll_back(self, trainer: "Trainer", error: NonfiniteError) -> bool:
        """After too many steps that were not finite, restore the state of an earlier step. Returns whether that was done."""
        return False


class Trainer:
    """Runs a `TrainingState` over a data set; hooks are called before the first step, after every step, at the end."""

    def __init__(
        self, state: TrainingState, dataset: ImageDataset, hooks: Sequence[Hook] = (), supervisor: Supervisor | None = None
    ) -> None:
        self.state, self.dataset, self.system = state, dataset, state.system
        self.hooks = [hook for hook in hooks if hook.every_rank or distributed.is_main()]
        self.supervisor = supervisor or Supervisor()
        training = state.config.training
        self.plan = plan_batch(training, distributed.world_size())
        self.batch_size, self.rounds = self.plan.batch_size, self.plan.num_rounds
        self.device, self.dtype = state.precision.device, state.precision.parameter_dtype
        if self.device.type == "cpu":
            keep_freed_memory()
        for name, network in self.system.networks.items():
            self.system.replicas[name] = distributed.replicate(network, apart=self.system.separate_parameters(name))
        self.phases = self.system.phases
        # Lists, because walking through a network's modules costs milliseconds.
        self.parameters = {name: list(network.parameters()) for name, network in self.system.networks.items()}
        self.other_parameters = [
            list(set(self.parameters[phase.network]) - set(phase.parameters)) for phase in self.phases
        ]
        self.scalars = ScalarSums()
        self.nonfinite = NonfiniteCounter([phase.name for phase in self.phases], self.device)
        self.total_steps = math.ceil(training.total_kimg * 1000 / training.batch_size)
        self.stop_requested = False
        self.in_step = False  # whether weights are being changed
        self.active_hook: Hook | None = None
        self.vote = distributed.Vote()
        self.stopping = self._stop_reason()

    def run(self) -> None:
        """Train until the total, the time limit, or a request to stop of any process."""
        try:
            self._call_hooks(lambda hook: hook.before_training(self))
            while not self._train():
                pass
        except StoppedInHookError:
            pass  # whatever had to be saved was saved before
        finally:
            for hook in self.hooks:
                hook.after_training(self)

    def _train(self) -> bool:
        """Make steps until the end (returns true) or until a roll-back (returns false)."""
        batches = training_batches(
            self.dataset, self.state.config.data, self.state.config.training.seed, self.state.seen_images,
            self.batch_size, distributed.rank(), distributed.world_size(), self.rounds, self.device.type == "cuda",
        )  # fmt: skip
        try:
            while not self.is_finished():
                start = time.perf_counter()
                self.train_step(batches)
                self.state.seconds += time.perf_counter() - start
                # Evaluated once a step, so that all hooks see the same value when a signal arrives among them.
                self.stopping = StopReason(self.vote.cast(self._stop_reason()))
                self.supervisor.report_position("hooks")
                self._call_hooks(lambda hook: hook.after_step(self))
        except NonfiniteError as error:
            if not self.supervisor.roll_back(self, error):
                raise
            self.nonfinite.reset()
            self.scalars = ScalarSums()
            self.active_hook = None  # the hook that raised the error
            return False
        finally:
            batches.close()
            self.vote.close()
        return True

    def train_step(self, batches: Iterator[Batch]) -> None:
        """Every phase that is due, then the averages."""
        self.supervisor.report_position(f"in step {self.state.step}, waiting for images")
        batch = next(batches).to_device(self.device, self.dtype, self.state.precision.layout)
        self.in_step = True
        for index, phase in enumerate(self.phases):
            if phase.is_due(self.state.step):
                self.supervisor.report_position(f"in step {self.state.step}, phase {phase.name}")
                self.run_phase(index, phase, batch)
        self.nonfinite.end_step(self.state.step)
        training = self.state.config.training
        self.state.step += 1
        decay = ema_decay(self.batch_size, training.ema_half_life_kimg, self.state.seen_kimg, training.ema_ramp_up)
        for average in self.system.averages.values():
            average.update(decay)
        self.in_step = False

    def run_phase(self, index: int, phase: Phase, batch: Batch) -> None:
        """Forward and backward for each round, one optimiser step, or none when a loss or gradient is not finite."""
        shards = self._shards(phase, batch)
        self.state.augmentation.prepare(shards, phase, self.state.step, self.state.num_rollbacks)
        sums = self.accumulate_gradients(phase, shards)
        for parameter in self.other_parameters[index]:
            parameter.grad = None
        skipped = ~gradients_are_finite(phase.parameters)
        self.nonfinite.note(index, skipped)
        phase.optimizer.found_inf = skipped.float()  # type: ignore[attr-defined]
        phase.optimizer.step()
        for parameter in phase.parameters:
            parameter.grad = None
        if phase.after is not None:
            phase.after(sums.reduced_means())
        if phase.real_sign is not None and self.state.augmentation.config.is_adaptive:
            self.state.augmentation.adapt(sums.reduced_means()[phase.real_sign])
        self.scalars.merge(sums, skipped)

    def accumulate_gradients(self, phase: Phase, shards: list[Shard]) -> ScalarSums:
        """Gradients of the mean loss over all shards of all ranks, reduced in the last round only; the rounds' scalars."""
        for name, parameters in self.parameters.items():
            for parameter in parameters:
                parameter.requires_grad_(name == phase.network)
        replica = self.system.replicas[phase.network]
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
            torch._foreach_mul_([p.grad for p in self.parameters[phase.network] if p.grad is not None], 1 / scale)
        return sums

    def _shards(self, phase: Phase, batch: Batch) -> list[Shard]:
        """This rank's part of a phase, a shard a round."""
        if phase.draw is None and not phase.needs_real_images:
            return [Shard(None, None)]
        if phase.draw is None:
            return [Shard(part, None) for part in batch.chunk(self.rounds)]
        draws = phase.draw(phase.name, self.state.step, phase.batch_size, self.state.num_rollbacks)
        rounds = self.rounds if phase.needs_real_images else self._rounds_for(phase.batch_size)
        reals = batch.chunk(rounds) if phase.needs_real_images else [None] * rounds
        num_shards = distributed.world_size() * rounds
        shards = []
        for index, part in enumerate(reals):
            position = distributed.rank() * rounds + index
            drawn = draws.shard(position % phase.batch_size, num_shards)
            # A shard beyond the batch takes part with weight zero: every rank must meet in the reduction.
            size = len(drawn) if position < phase.batch_size else 0
            shards.append(Shard(part, drawn, weight=size * num_shards / phase.batch_size))
        return shards

    def _rounds_for(self, batch_size: int) -> int:
        """The fewest rounds that hold no more images a pass than the whole batch's do."""
        return max(1, math.ceil(batch_size / (distributed.world_size() * self.plan.images_per_pass)))

    def is_finished(self) -> bool:
        """Whether no further step is to be made; the same on every rank."""
        return self.stopping != StopReason.NONE or self.state.step >= self.total_steps

    def is_interrupted(self) -> bool:
        """Whether the run ends because it was asked to; the same on every rank."""
        return self.stopping == StopReason.REQUEST

    def _stop_reason(self) -> StopReason:
        """The reason that this rank alone has for stopping."""
        if self.stop_requested:
            return StopReason.REQUEST
        limit = self.state.config.training.max_minutes
        return StopReason.TIME if limit is not None and self.state.seconds >= 60 * limit else StopReason.NONE

    def check_finite(self) -> None:
        """NonfiniteError naming step and phase when too many steps in a row were skipped. Waits for the device."""
        weights = [weight.detach() for parameters in self.parameters.values() for weight in parameters]
        # Skipping keeps the weights finite; the rest would be a fault of memory or of an operator.
        if not self.nonfinite.check(self.state.config.training.max_nonfinite_steps, weights):
            raise NonfiniteError(f"training: weights became non-finite before step {self.state.step}; stopped before saving")

    def _call_hooks(self, call: Callable[[Hook], None]) -> None:
        for hook in self.hooks:
            self.active_hook = hook
            call(hook)
        self.active_hook = None
