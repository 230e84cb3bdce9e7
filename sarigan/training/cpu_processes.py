"""Several processes on one CPU that share the batch of every phase: `training.cpu_processes`.

Threads within one operation wait for one another after each of thousands of operations, spinning: layers of small networks
are too small to be shared, and one busy core slows all. Processes with threads of their own meet once a phase. Weights and
gradients lie in memory that all see. The first process makes every update and keeps all state; the others only compute.
"""

import signal
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, NoReturn

import torch
from torch import Tensor

from ops.host_memory import keep_freed_memory
from sarigan import distributed
from sarigan.data.batch import Batch
from sarigan.errors import InputError
from sarigan.systems.system import Phase
from sarigan.training.batch_plan import BatchPlan
from sarigan.training.gradients import PhaseGradients
from sarigan.training.precision import Precision
from sarigan.training.run_config import RunConfig
from sarigan.training.scalars import ScalarSums
from sarigan.training.state import TrainingState


def count_processes(config: RunConfig, device: torch.device, plan: BatchPlan) -> int:
    """How many share the batch: `training.cpu_processes`, 0 for one a thread, and no more than the batch can be dealt to.

    A share is a multiple of what the system's minibatch statistics need, so that the result does not depend on the number.
    One on a GPU, which one process keeps busy, and with a launcher, whose processes are the others.
    """
    wanted = config.training.cpu_processes or torch.get_num_threads()
    if device.type != "cpu" or distributed.world_size() > 1:
        return 1
    shares = [n for n in range(1, wanted + 1) if plan.images_per_pass % n == 0]
    whole = [n for n in shares if plan.images_per_pass // n % config.shard_multiple == 0]
    return max(whole or [1])


class CpuProcesses:
    """The processes but the first. `close` ends them; they also end when this one does."""

    def __init__(self, state: TrainingState, plan: BatchPlan, num_processes: int) -> None:
        system = self.system = state.system
        self.num_threads = torch.get_num_threads()
        self.share = max(1, self.num_threads // num_processes)
        self.parameters = {name: list(network.parameters()) for name, network in system.networks.items()}
        self.workers: list[tuple[BaseProcess, Connection, dict[str, list[Tensor]]]] = []
        shared = [tensor.detach().share_memory_() for tensor in _what_losses_read(state)]
        context = torch.multiprocessing.get_context("spawn")
        for index in range(1, num_processes):
            gradients = {
                name: [torch.zeros_like(parameter.detach()).share_memory_() for parameter in parameters]
                for name, parameters in self.parameters.items()
            }
            connection, theirs = context.Pipe()
            process: BaseProcess = context.Process(
                target=_serve, name=f"process {index} of {num_processes}", daemon=True,
                args=(theirs, state.config, state.precision, plan, index, num_processes, shared, gradients, self.share),
            )  # fmt: skip
            process.start()
            theirs.close()
            self.workers.append((process, connection, gradients))
        try:
            for process, connection, _ in self.workers:
                _receive(process, connection)  # that it is ready
        except BaseException:
            self.close()
            raise
        torch.set_num_threads(self.share)

    def begin(self, phase: Phase, batch: Batch, step: int, attempt: int) -> None:
        """Have every process compute its share of the gradients of a phase; returns at once."""
        arrays = {name: value.numpy() for name, value in vars(batch).items() if value is not None}
        index = self.system.phases.index(phase)
        for process, connection, _ in self.workers:
            try:
                connection.send((index, arrays if phase.needs_real_images else None, step, attempt))
            except OSError:
                _explain_end(process)

    def finish(self, phase: Phase, sums: ScalarSums) -> None:
        """Wait for the others' shares; add their gradients to those of this process, and their scalars to `sums`."""
        for process, connection, gradients in self.workers:
            there, vectors = _receive(process, connection)
            pairs = [(self.parameters[phase.network][number].grad, gradients[phase.network][number]) for number in there]
            torch._foreach_add_([mine for mine, _ in pairs], [theirs for _, theirs in pairs])
            for names, vector in vectors.items():
                sums.add_vector(names, torch.from_numpy(vector))

    def close(self) -> None:
        """End the processes, whatever they are doing."""
        for process, connection, _ in self.workers:
            connection.close()
            process.kill()
            process.join()
        torch.set_num_threads(self.num_threads)


def _what_losses_read(state: TrainingState) -> list[Tensor]:
    """The networks' parameters and buffers, and what is carried from step to step."""
    networks = state.system.networks.values()
    weights = [tensor for network in networks for tensor in (*network.parameters(), *network.buffers())]
    return [*weights, *state.system.tensors.values(), state.augmentation.state]


def _receive(process: BaseProcess, connection: Connection) -> Any:
    try:
        kind, answer = connection.recv()
    except (EOFError, OSError):
        _explain_end(process)
    if kind == "error":
        raise answer
    return answer


def _explain_end(process: BaseProcess) -> NoReturn:
    process.join()
    raise InputError(
        f"training: {process.name} on this CPU ended (exit code {process.exitcode}; -9 is often a lack of memory). The last"
        " checkpoint is good; training.cpu_processes=1 trains in one process"
    ) from None


def _serve(
    connection: Connection, config: RunConfig, precision: Precision, plan: BatchPlan, index: int, num_processes: int,
    shared: list[Tensor], gradients: dict[str, list[Tensor]], num_threads: int,
) -> None:  # fmt: skip
    """What every process but the first does: (phase, images, step, attempt) -> which gradients there are, and scalars."""
    for stop in (signal.SIGINT, signal.SIGTERM):  # the first process stops between two steps, and ends this one
        signal.signal(stop, signal.SIG_IGN)
    torch.set_num_threads(num_threads)
    keep_freed_memory()
    try:
        state = TrainingState(config, precision)
        for mine, tensor in zip(_what_losses_read(state), shared, strict=True):
            mine.data = tensor
        own = PhaseGradients(state.system, plan, precision.loss_scale, state.augmentation, index, num_processes)
        connection.send(("ready", None))
        while True:
            phase_index, arrays, step, attempt = connection.recv()
            phase, batch = state.system.phases[phase_index], None
            if arrays is not None:
                batch = Batch(**{name: torch.from_numpy(array) for name, array in arrays.items()})
                batch.images = batch.images.contiguous(memory_format=precision.layout)
            sums = own.accumulate(phase, own.shards(phase, batch, step, attempt))
            parameters = own.parameters[phase.network]
            found = {i: parameter.grad for i, parameter in enumerate(parameters) if parameter.grad is not None}
            torch._foreach_copy_([gradients[phase.network][i] for i in found], list(found.values()))
            for parameter in parameters:
                parameter.grad = None
            connection.send(("done", (list(found), {names: vector.numpy() for names, vector in sums.vectors.items()})))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the first process has ended
    except Exception as error:  # any: it is raised in the first process
        connection.send(("error", error))
