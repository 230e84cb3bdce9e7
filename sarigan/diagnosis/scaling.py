"""Work, memory and traffic of a training step, counted rather than measured: no weight is allocated, no product computed.

The networks and every phase run on PyTorch's fake tensors, which have shapes and no contents. FLOPs are counted by
PyTorch's own counter, activations as the storages that autograd keeps for the backward passes. A phase without images (the
grouping loss, whose c x c products are below a thousandth of a step) is left out.
"""

import argparse
import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ops._extension import implementation
from sarigan.config import Config, load_config
from sarigan.systems.system import Phase, Shard, System
from sarigan.training.batch_plan import BatchPlan, plan_batch
from sarigan.training.precision import ModuleT, Precision

FLOAT_BYTES = 4
DEFAULT_RANKS = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class PhaseCount:
    """One phase, per image of a pass; `flops` is not divided by the interval."""

    network: str
    flops: float
    activation_bytes: float
    interval: int
    shrink: float  # images of a step for every image of this phase


@dataclass(frozen=True)
class StepCount:
    """Work, memory and traffic of a step of one configuration."""

    parameters: dict[str, int]  # by network
    separate_parameters: dict[str, int]  # of those, which stay outside DDP's replicas
    averaged_parameters: int
    draw_bytes: float  # random inputs of an image of the batch: every rank draws them for the whole batch
    phases: dict[str, PhaseCount]

    @property
    def flops_per_image(self) -> float:
        """FLOPs of a step, lazy regularisers spread over their intervals."""
        return sum(phase.flops / phase.interval / phase.shrink for phase in self.phases.values())

    def fixed_bytes(self, num_ranks: int) -> int:
        """Weights, two moments each, gradients of the largest network, averages, and DDP's buckets on several ranks."""
        total = sum(self.parameters.values())
        buckets = total - sum(self.separate_parameters.values()) if num_ranks > 1 else 0
        return FLOAT_BYTES * (total * 3 + self.averaged_parameters + max(self.parameters.values()) + buckets)

    @property
    def checkpoint_bytes(self) -> int:
        """Every network with two moments, and the averages."""
        return FLOAT_BYTES * (3 * sum(self.parameters.values()) + self.averaged_parameters)

    @property
    def reduced_bytes(self) -> float:
        """Gradients averaged over ranks a step, regularisers spread over their intervals."""
        reduced = {name: count - self.separate_parameters[name] for name, count in self.parameters.items()}
        return FLOAT_BYTES * sum(reduced[phase.network] / phase.interval for phase in self.phases.values())

    def sent_bytes(self, num_ranks: int) -> float:
        """What a rank sends in ring all-reduces: 2 (n - 1) / n of the gradients."""
        return self.reduced_bytes * 2 * (num_ranks - 1) / num_ranks

    def memory_bytes(self, plan: BatchPlan) -> float:
        """The peak of one rank in a step, without the workspace of convolutions."""
        largest = max(phase.activation_bytes / phase.shrink for phase in self.phases.values())
        return self.fixed_bytes(plan.num_ranks) + plan.images_per_pass * largest + plan.batch_size * self.draw_bytes


class FlopCount(TorchDispatchMode):
    """Adds up PyTorch's FLOP formulas; unlike `FlopCounterMode` it looks at no modules, whose hooks `autograd.grad` refuses."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func._overloadpacket in flop_registry:
            output = func(*args, **kwargs)
            self.total += flop_registry[func._overloadpacket](*args, **kwargs, out_val=output)
            return output
        if torch.is_inference_mode_enabled():  # conv2d comes whole there; what it is made of is in the registry
            with self:
                output = func.decompose(*args, **kwargs)
            if output is not NotImplemented:
                return output
        return func(*args, **kwargs)


def checkpoint_size(config: Config) -> int:
    """Bytes of a checkpoint: every network with two moments, and the averages."""
    with FakeTensorMode():
        return _count(build_system(config), 0).checkpoint_bytes


def count_step(config: Config, images: int = 4) -> StepCount:
    """Run every phase that sees images on a pass of `images` fake images."""
    with FakeTensorMode(allow_non_fake_inputs=True), implementation("reference"):  # weights of a perceptual loss are real
        return _count(build_system(config), images, config.training.batch_size)


class _AsBuilt(Precision):
    """float32 on the CPU, where a new network is already: tensors without contents cannot be moved."""

    def place(self, module: ModuleT) -> ModuleT:
        return module


def build_system(config: Config) -> System:
    """The system; inside `FakeTensorMode` its tensors have no contents."""
    return config.build(_AsBuilt(torch.device("cpu"), "float32"))


def _count(system: System, images: int, batch_size: int = 1) -> StepCount:
    def count(parameters: Iterable[Tensor]) -> int:
        return sum(p.numel() for p in parameters)

    batch = system.example_batch(images, torch.device("cpu"), torch.float32)
    phases: dict[str, PhaseCount] = {}
    draw_bytes = 0.0
    for phase in system.phases if images else []:
        if phase.draw is None and not phase.needs_real_images:
            continue  # a function of the weights, whose contents are not there
        draws = None if phase.draw is None else phase.draw(phase.name, 0, images, 0)
        draw_bytes = draw_bytes or storage_bytes(draws) / images
        flops, activations = _count_phase(system, phase, Shard(batch, draws))
        shrink = batch_size / phase.batch_size if phase.batch_size else 1.0
        phases[phase.name] = PhaseCount(phase.network, flops / images, activations / images, phase.interval, shrink)
    return StepCount(
        {name: count(network.parameters()) for name, network in system.networks.items()},
        {name: count(system.separate_parameters(name)) for name in system.networks},
        sum(count(average.module.parameters()) for average in system.averages.values()),
        draw_bytes,
        phases,
    )


def _count_phase(system: System, phase: Phase, shard: Shard) -> tuple[int, int]:
    """FLOPs forward and backward, and bytes that autograd keeps beside the weights."""
    for name, network in system.networks.items():
        network.requires_grad_(name == phase.network)
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        return tensor

    with FlopCount() as counter:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            value, _ = phase.loss(shard)
        value.backward()
    system.networks[phase.network].zero_grad(set_to_none=True)
    weights = sum(p.numel() * FLOAT_BYTES for network in system.networks.values() for p in network.parameters())
    return counter.total, max(0, sum(kept.values()) - weights)


def storage_bytes(value: Any) -> int:
    """Bytes of the storages behind the tensors in a structure of dataclasses and sequences."""
    found: dict[int, int] = {}

    def look(part: Any) -> None:
        if isinstance(part, Tensor):
            found[part.untyped_storage()._cdata] = part.untyped_storage().nbytes()
        elif dataclasses.is_dataclass(part):
            for item in dataclasses.fields(part):
                look(getattr(part, item.name))
        elif isinstance(part, list | tuple):
            for item in part:
                look(item)

    look(value)
    return sum(found.values())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `scripts/benchmark.py scaling`."""
    parser.add_argument("--config", type=Path, nargs="+", required=True)
    parser.add_argument("--ranks", type=int, nargs="+", default=DEFAULT_RANKS)
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="for every configuration")


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """One record a configuration and number of ranks."""
    records = []
    for path in options.config:
        config = load_config(path, options.overrides)
        count = count_step(config)
        for num_ranks in options.ranks:
            batch = max(config.training.batch_size, num_ranks)
            plan = plan_batch(dataclasses.replace(config.training, batch_size=batch), num_ranks)
            records.append(
                {
                    "config": path.stem,
                    "ranks": num_ranks,
                    "batch": plan.batch_size,
                    "images_per_pass": plan.images_per_pass,
                    "gib_per_rank": round(count.memory_bytes(plan) / 2**30, 2),
                    "tflop_per_rank_and_step": round(count.flops_per_image * batch / num_ranks / 1e12, 2),
                    "mb_sent_per_rank_and_step": round(count.sent_bytes(num_ranks) / 1e6, 1),
                    "stddev_groups_kept": config.batch_warning(plan) is None,
                }
            )
    return records
