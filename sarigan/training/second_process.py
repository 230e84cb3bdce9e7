"""A second process on the same CPU that computes the gradients of one network while the first trains the others.

For a system with `opponents`, whose networks need nothing of one another within a step. Layers of small networks are too small
to be shared by the threads of one operation, which wait for one another (spinning) after each of thousands of operations;
two processes meet once a step. Weights, opponents and gradients lie in memory that both see; the first process makes every
update and keeps all state, so that checkpoints and results do not depend on whether there is a second.
"""

import logging
import signal
from multiprocessing.connection import Connection
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from ops.host_memory import keep_freed_memory
from sarigan.data.batch import Batch
from sarigan.errors import InputError
from sarigan.systems.system import System
from sarigan.training.batch_plan import BatchPlan
from sarigan.training.gradients import PhaseGradients
from sarigan.training.precision import Precision
from sarigan.training.run_config import RunConfig
from sarigan.training.scalars import ScalarSums

log = logging.getLogger(__name__)


class SecondProcess:
    """Serves the phases of the first network of a system. `close` ends it; it also ends when this process does."""

    def __init__(self, system: System, config: RunConfig, precision: Precision, plan: BatchPlan) -> None:
        self.network = system.phases[0].network
        self.num_threads = torch.get_num_threads()
        self.parameters = list(system.networks[self.network].parameters())
        self.gradients = [torch.zeros_like(parameter.detach()).share_memory_() for parameter in self.parameters]
        # Only what it reads: its network, and the copies of the others.
        shared = [_shared_tensors(module) for module in _what_it_reads(system, self.network)]
        context = torch.multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(
            target=_serve, name=f"gradients of {self.network}", daemon=True,
            args=(theirs, config, precision, plan, shared, self.gradients, self.num_threads // 2),
        )  # fmt: skip
        self.process.start()
        theirs.close()
        self._receive()  # that it is ready
        torch.set_num_threads(self.num_threads - self.num_threads // 2)

    def begin(self, phase: int, batch: Batch, step: int, attempt: int) -> None:
        """Ask for the gradients of a phase, by its index; returns at once."""
        arrays = {name: value.numpy() for name, value in vars(batch).items() if value is not None}
        try:
            self.connection.send((phase, arrays, step, attempt))
        except OSError:
            self._explain_end()

    def finish(self) -> ScalarSums:
        """Wait for the gradients, which are then those of the parameters; the scalars of the rounds."""
        missing, vectors = self._receive()
        for index, (parameter, gradient) in enumerate(zip(self.parameters, self.gradients, strict=True)):
            parameter.grad = None if index in missing else gradient
        sums = ScalarSums()
        sums.vectors = {names: torch.from_numpy(vector) for names, vector in vectors.items()}
        return sums

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self.connection.close()
        self.process.kill()
        self.process.join()
        torch.set_num_threads(self.num_threads)

    def _receive(self) -> Any:
        try:
            kind, answer = self.connection.recv()
        except (EOFError, OSError):
            self._explain_end()
        if kind == "error":
            raise answer
        return answer

    def _explain_end(self) -> NoReturn:
        self.process.join()
        raise InputError(
            f"training: the process that computes the {self.network}'s gradients ended (exit code {self.process.exitcode};"
            " -9 is often a lack of memory). The last checkpoint is good; OMP_NUM_THREADS=1 trains in one process"
        ) from None


def _what_it_reads(system: System, network: str) -> list[nn.Module]:
    return [system.networks[network], *(copy for name, copy in system.opponents.items() if name != network)]


def _shared_tensors(module: nn.Module) -> list[Tensor]:
    """Parameters and buffers, moved to memory that other processes can see."""
    return [tensor.detach().share_memory_() for tensor in (*module.parameters(), *module.buffers())]


def _serve(
    connection: Connection, config: RunConfig, precision: Precision, plan: BatchPlan, shared: list[list[Tensor]],
    gradients: list[Tensor], num_threads: int,
) -> None:  # fmt: skip
    """What the second process does: (phase, images, step, attempt) -> which gradients there are none of, and the scalars."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the first process stops between two steps, and ends this one
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(num_threads)
    keep_freed_memory()
    try:
        system = config.build(precision)
        phase_gradients = PhaseGradients(system, plan, precision.loss_scale)
        network = system.phases[0].network
        for module, tensors in zip(_what_it_reads(system, network), shared, strict=True):
            for mine, tensor in zip((*module.parameters(), *module.buffers()), tensors, strict=True):
                mine.data = tensor
        parameters = phase_gradients.parameters[network]
        connection.send(("ready", None))
        while True:
            index, arrays, step, attempt = connection.recv()
            batch = Batch(**{name: torch.from_numpy(array) for name, array in arrays.items()})
            batch.images = batch.images.contiguous(memory_format=precision.layout)
            phase = system.phases[index]
            sums = phase_gradients.accumulate(phase, phase_gradients.shards(phase, batch, step, attempt))
            missing = {number for number, parameter in enumerate(parameters) if parameter.grad is None}
            for parameter, gradient in zip(parameters, gradients, strict=True):
                if parameter.grad is not None:
                    gradient.copy_(parameter.grad)
                parameter.grad = None
            vectors = {names: vector.numpy() for names, vector in sums.vectors.items()}
            connection.send(("done", (missing, vectors)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the first process has ended
    except Exception as error:  # any: it is raised in the first process
        connection.send(("error", error))
