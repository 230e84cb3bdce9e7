"""What the trainer asks of a system: networks, optimisers, averages and phases by name, random draws, sample images.

Trainer, checkpoints, resume, data-parallel training, hooks, evaluation, report and doctor know this alone. A new system is a
folder beside this file with a subclass of `System`, a configuration (`sarigan.training.config.RunConfig`) and a line in
`sarigan.systems.registry`. Everything that a checkpoint keeps of a system stands in `System.state_dict`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from sarigan.data.batch import Batch
from sarigan.errors import InputError
from sarigan.files.weights import check_numbers, load_moments, load_weights
from sarigan.models.ema import ExponentialMovingAverage

Scalars = dict[str, Tensor]
DrawsT = TypeVar("DrawsT", bound="Draws")


class Draws(Protocol):
    """The random inputs of N samples."""

    def __len__(self) -> int: ...

    def shard(self: DrawsT, index: int, num_shards: int) -> DrawsT:
        """The samples index, index + S, index + 2S, ..."""


def unchanged(images: Tensor) -> Tensor:
    """The images themselves."""
    return images


@dataclass
class Shard:
    """What a loss sees in one round of a phase on one rank."""

    batch: Batch | None  # real images in -1..1, and what the data set has beside them
    draws: Any | None  # what the phase's `draw` returned, a shard of it
    weight: float = 1.0  # of its mean loss in the mean over all shards: its samples * shards / batch size
    # What a discriminator's images pass through, real and generated alike; other random transforms in every call
    augment: Callable[[Tensor], Tensor] = unchanged


@dataclass
class Phase:
    """One loss, the parameters it trains, their optimiser, and the steps it is due in."""

    name: str
    loss: Callable[[Shard], tuple[Tensor, Scalars]]  # -> (scalar with gradient, scalars to log)
    network: str  # whose parameters need gradients meanwhile
    parameters: list[nn.Parameter]  # those that the phase owns: only they are stepped
    optimizer: torch.optim.Optimizer
    interval: int = 1  # steps
    from_step: int = 0  # not due before this step
    until_step: int | None = None  # not due from this step on
    batch_size: int = 0  # samples to draw for the whole batch; 0: none
    draw: Callable[[str, int, int, int], Draws] | None = None  # (name, step, batch size, attempt) -> draws
    needs_real_images: bool = False
    uses_replica: bool = True  # the loss goes through a data-parallel replica, which averages gradients over ranks
    after: Callable[[Scalars], None] | None = None  # sees the mean scalars of the finished phase
    real_sign: str | None = None  # the scalar with the mean sign of D's logits on real images: it steers ADA

    def is_due(self, step: int) -> bool:
        """Whether the phase runs in a step, counted from 0."""
        return step % self.interval == 0 and self.from_step <= step and (self.until_step is None or step < self.until_step)


@dataclass(frozen=True)
class Curves:
    """One chart of values of the log. A `*` in a key stands for every name that the log has there, and names the curve."""

    title: str
    keys: dict[str, str]  # label -> key
    log_scale: bool = False


def count_parameters(module: nn.Module) -> int:
    """Number of trained numbers."""
    return sum(parameter.numel() for parameter in module.parameters())


class System(ABC):
    """Subclasses fill the attributes when they are built and never replace them."""

    networks: dict[str, nn.Module]  # what is trained
    averages: dict[str, ExponentialMovingAverage[Any]]  # of some of the networks
    optimizers: dict[str, torch.optim.Optimizer]
    tensors: dict[str, Tensor]  # whatever else is carried from step to step
    phases: list[Phase]  # of a step, in order
    replicas: dict[str, nn.Module]  # what a loss calls for a network that it trains: data-parallel over several ranks
    resolution: int  # R of the images

    def separate_parameters(self, network: str) -> list[nn.Parameter]:
        """Parameters that no data-parallel replica reduces, because no loss reaches them through `forward`."""
        return []

    def example_batch(self, num_images: int, device: torch.device, dtype: torch.dtype) -> Batch:
        """A batch of grey images, for passes whose result is discarded."""
        return Batch(torch.zeros(num_images, 3, self.resolution, self.resolution, device=device, dtype=dtype))

    @abstractmethod
    def sample_images(self, num_images: int, batch_size: int) -> Iterator[Tensor]:
        """The same samples of the averaged networks at every call: batches [N,3,R,R] in about -1..1."""

    def generated_images(self, num_images: int, batch_size: int) -> Iterator[Tensor]:
        """As `sample_images`, without what a system shows beside what it makes: `num_images` at most."""
        yield from self.sample_images(num_images, batch_size)

    def begin_step(self, seen_kimg: float) -> None:
        """Called before the phases of a step, with the thousands of images seen so far: for schedules."""
        return

    def prepare_to_save(self) -> None:
        """Called on rank 0 before a checkpoint is written."""
        return

    def log_values(self, means: dict[str, float]) -> dict[str, float]:
        """The values of a log line: `means` of the scalars since the last line, and what is read from the networks."""
        return means

    def describe(self) -> list[tuple[str, int, str]]:
        """Rows of the model table: part, number of parameters, a remark."""
        return [(name, count_parameters(network), "") for name, network in self.networks.items()]

    def notes(self) -> list[str]:
        """Lines that a person should read before the first step."""
        return []

    @abstractmethod
    def evaluation_inputs(self) -> dict[str, Any]:
        """Keyword arguments of `metrics.evaluation.Evaluation` that name what is judged."""

    def report_sections(self) -> list[Callable[[], Any]]:
        """Makers of the sections of a report that need the networks (`visualization.report.page.Section`)."""
        return []

    def report_curves(self) -> list[Curves]:
        """The charts of a report that show what `log_values` returned."""
        return []

    def modules(self) -> dict[str, nn.Module]:
        """The networks and their averages, by name."""
        return {**self.networks, **{name: average.module for name, average in self.averages.items()}}

    def state_dict(self) -> dict[str, Any]:
        """Everything that a checkpoint keeps of the system: networks, averages, optimisers and tensors, by name."""
        networks = {name: module.state_dict() for name, module in self.modules().items()}
        optimizers = {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()}
        return {**self.tensors, **networks, **optimizers}

    def load_state_dict(self, state: dict[str, Any], source: str) -> None:
        """Restore what `state_dict` returned, but for the settings of the optimisers, which stay those of this configuration.

        InputError naming `source` when the state does not fit.
        """
        try:
            for name, tensor in self.tensors.items():
                check_numbers(name, state[name], tensor)
                tensor.copy_(state[name])
            for name, module in self.modules().items():
                load_weights(module, state[name])
            for name, optimizer in self.optimizers.items():
                load_moments(optimizer, state[name])
        except Exception as error:  # what PyTorch raises for a crafted state is any of a dozen
            reason = f"it has no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
            raise InputError(f"{source}: the checkpoint does not fit this configuration ({reason[:200]})") from None
