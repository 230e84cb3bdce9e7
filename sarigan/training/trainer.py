"""The training loop: the phases of a system in order, then its averages, then whatever the hooks want."""

import enum
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor

from ops.host_memory import keep_freed_memory
from sarigan import distributed
from sarigan.data.batch import Batch
from sarigan.data.loader import ImageDataset, training_batches
from sarigan.models.ema import ema_decay
from sarigan.systems.system import Phase, Shard
from sarigan.training.batch_plan import plan_batch
from sarigan.training.cpu_processes import CpuProcesses, count_processes
from sarigan.training.cuda_graphs import CudaRecorder, Outcome, PhaseGraphs
from sarigan.training.gradients import PhaseGradients
from sarigan.training.nonfinite import NonfiniteCounter, NonfiniteError, all_finite
from sarigan.training.scalars import ScalarSums
from sarigan.training.state import TrainingState


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
    """What a trainer reports to. This one does nothing; `sarigan.runs.run` has the one that a run uses."""

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
        self.gradients = PhaseGradients(self.system, self.plan, state.precision.loss_scale, state.augmentation)
        self.parameters = self.gradients.parameters
        self.scalars = ScalarSums()
        self.nonfinite = NonfiniteCounter([phase.name for phase in self.phases], self.device)
        self.total_steps = math.ceil(training.total_kimg * 1000 / training.batch_size)
        self.stop_requested = False
        self.in_step = False  # whether weights are being changed
        self.active_hook: Hook | None = None
        self.vote = distributed.Vote()
        self.processes: CpuProcesses | None = None
        self.graphs: PhaseGraphs | None = None
        self.real_sign: Tensor | None = None  # of this step's phases, which all see the same p
        self.stopping = self._stop_reason()

    def run(self) -> None:
        """Train until the total, the time limit, or a request to stop of any process."""
        try:
            self._call_hooks(lambda hook: hook.before_training(self))
            with self.cpu_processes():
                while not self._train():
                    pass
        except StoppedInHookError:
            pass  # whatever had to be saved was saved before
        finally:
            for hook in self.hooks:
                hook.after_training(self)

    @contextmanager
    def cpu_processes(self) -> Iterator[None]:
        """Share the phases among as many processes as the configuration asks for meanwhile."""
        number = count_processes(self.state.config, self.device, self.plan)
        if number > 1:
            self.processes = CpuProcesses(self.state, self.plan, number)
            self.gradients.num_processes = number
        try:
            yield
        finally:
            if self.processes is not None:
                self.processes.close()
            self.processes, self.gradients.num_processes = None, 1

    def _train(self) -> bool:
        """Make steps until the end (returns true) or until a roll-back (returns false)."""
        self.record_phases()  # anew after a roll-back, which gives Adam other moments
        batches = training_batches(
            self.dataset, self.state.config.data, self.state.config.training.seed, self.state.seen_images,
            self.batch_size, distributed.rank(), distributed.world_size(), self.rounds * self.gradients.num_processes,
            self.device.type == "cuda",
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
        self.system.begin_step(self.state.seen_kimg)
        for index, phase in enumerate(self.phases):
            if phase.is_due(self.state.step):
                self.supervisor.report_position(f"in step {self.state.step}, phase {phase.name}")
                self.run_phase(index, phase, batch)
        if self.real_sign is not None:
            self.state.augmentation.adapt(self.real_sign)
            self.real_sign = None
        self.nonfinite.end_step(self.state.step)
        training = self.state.config.training
        self.state.step += 1
        decay = ema_decay(self.batch_size, training.ema_half_life_kimg, self.state.seen_kimg, training.ema_ramp_up)
        for average in self.system.averages.values():
            average.update(decay)
        self.in_step = False

    def record_phases(self) -> None:
        """From now on phases are recorded as CUDA graphs, if the configuration asks for it."""
        self.graphs = PhaseGraphs(self.update, CudaRecorder()) if self.state.config.training.cuda_graphs else None

    def run_phase(self, index: int, phase: Phase, batch: Batch) -> None:
        """The update of a phase, and what is noted of it."""
        processes = self._processes_for(phase)
        if processes is not None:
            processes.begin(phase, batch, self.state.step, self.state.num_rollbacks)
        shards = self.gradients.shards(phase, batch, self.state.step, self.state.num_rollbacks)
        sums, skipped = (self.graphs or self.update)(phase, shards)
        self.nonfinite.note(index, skipped)
        if phase.after is not None:
            phase.after(sums.reduced_means())
        if phase.real_sign is not None and self.state.augmentation.config.is_adaptive:
            self.real_sign = sums.reduced_means()[phase.real_sign]
        self.scalars.merge(sums, skipped)

    def update(self, phase: Phase, shards: list[Shard]) -> Outcome:
        """Forward and backward for each shard, one optimiser step, or none when a loss or gradient is not finite."""
        sums = self.gradients.accumulate(phase, shards)
        processes = self._processes_for(phase)
        if processes is not None:
            processes.finish(phase, sums)
        skipped = ~all_finite([parameter.grad for parameter in phase.parameters if parameter.grad is not None])
        phase.optimizer.found_inf = skipped.float()  # type: ignore[attr-defined]
        phase.optimizer.step()
        for parameter in phase.parameters:
            parameter.grad = None
        return sums, skipped

    def _processes_for(self, phase: Phase) -> CpuProcesses | None:
        """The other processes, where they share the batch of this phase."""
        return self.processes if self.gradients.num_shards(phase) > 1 else None

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
