"""Work, memory and traffic of a training step, counted rather than measured: no weight is allocated, no product computed.

The networks and every phase run on PyTorch's fake tensors, which have shapes and no contents. FLOPs are counted by
PyTorch's own counter, activations as the storages that autograd keeps for the backward passes. The grouping phase, which needs
contents, is left out: its c x c products are below a thousandth of a step.
"""

import argparse
import dataclasses
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
from sarigan.models.discriminator import Discriminator
from sarigan.models.generator import Generator
from sarigan.systems.style.objective import GanObjective, information_dim
from sarigan.training.batch_plan import BatchPlan, plan_batch
from sarigan.training.phase import Shard
from sarigan.training.randomness import Draws

FLOAT_BYTES = 4
DEFAULT_RANKS = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class StepCount:
    """Of one configuration; FLOPs and activations are per image of a pass."""

    generator_parameters: int
    grouping_parameters: int  # of those, which stay outside DDP's replicas
    discriminator_parameters: int
    draw_bytes: float  # latents and noise of an image of the batch: every rank draws them for the whole batch
    flops: dict[str, float]  # by phase, not divided by its interval
    activation_bytes: dict[str, float]
    intervals: dict[str, int]
    path_length_shrink: int

    @property
    def flops_per_image(self) -> float:
        """Of a step, lazy regularisers spread over their intervals."""
        shrink = {"path_length": self.path_length_shrink}
        return sum(flops / self.intervals[name] / shrink.get(name, 1) for name, flops in self.flops.items())

    def fixed_bytes(self, num_ranks: int) -> int:
        """Weights, gradients of the larger network, two moments each, the average, and of several ranks both DDP's buckets."""
        g, d = self.generator_parameters, self.discriminator_parameters
        buckets = g - self.grouping_parameters + d if num_ranks > 1 else 0
        return FLOAT_BYTES * ((g + d) * 3 + g + max(g, d) + buckets)

    @property
    def reduced_bytes(self) -> float:
        """Gradients averaged over ranks a step, regularisers spread over their intervals."""
        of = dict.fromkeys(("generator", "path_length"), self.generator_parameters - self.grouping_parameters)
        parameters = {name: of.get(name, self.discriminator_parameters) for name in self.flops}
        return FLOAT_BYTES * sum(parameters[name] / self.intervals[name] for name in self.flops)

    def sent_bytes(self, num_ranks: int) -> float:
        """What a rank sends in ring all-reduces: 2 (n - 1) / n of the gradients."""
        return self.reduced_bytes * 2 * (num_ranks - 1) / num_ranks

    def memory_bytes(self, plan: BatchPlan) -> float:
        """Of one rank at the largest moment of a step, without the workspace of convolutions."""
        shrink = {"path_length": self.path_length_shrink}
        largest = max(size / shrink.get(name, 1) for name, size in self.activation_bytes.items())
        return self.fixed_bytes(plan.num_ranks) + plan.images_per_pass * largest + plan.batch_size * self.draw_bytes


class FlopCount(TorchDispatchMode):
    """Adds up PyTorch's FLOP formulas; unlike `FlopCounterMode` it looks at no modules, whose hooks `autograd.grad` refuses."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if func._overloadpacket in flop_registry:
            self.total += flop_registry[func._overloadpacket](*args, **(kwargs or {}), out_val=output)
        return output


def checkpoint_size(config: Config) -> int:
    """Bytes of a checkpoint: both networks with two moments each, and the average."""
    with FakeTensorMode():
        generator, discriminator = build_networks(config)
    g, d = (sum(p.numel() for p in module.parameters()) for module in (generator, discriminator))
    return FLOAT_BYTES * (4 * g + 3 * d)


def build_networks(config: Config) -> tuple[Generator, Discriminator]:
    """Both networks, under a mode without contents."""
    grouping = dataclasses.replace(config.generator.grouping, initial_threshold=0.25)  # kernels here have no quantile
    generator = Generator(dataclasses.replace(config.generator, grouping=grouping))
    codes = information_dim(config.objective, generator)
    return generator, Discriminator(config.discriminator, config.generator.resolution, codes)


def count_step(config: Config, images: int = 4) -> StepCount:
    """Run every phase of a configuration on `images` images without contents."""
    with FakeTensorMode(), implementation("reference"):
        return _count(config, images)


def _count(config: Config, images: int) -> StepCount:
    generator, discriminator = build_networks(config)
    objective = GanObjective(config.objective, generator, discriminator)
    size, z_dim = config.generator.resolution, config.generator.z_dim

    def draw(*shape: int) -> Tensor:
        return torch.empty(shape)

    noise = [draw(images, 1, h, w) for h, w in generator.synthesis.noise_shapes()]
    shard = Shard(draw(images, 3, size, size), Draws(draw(images, z_dim), None, noise, draw(images, 3, size, size)))
    phases: dict[str, tuple[Any, Any, int]] = {
        "discriminator": (objective.discriminator_phase, discriminator, 1),
        "generator": (objective.generator_phase, generator, 1),
    }
    if config.objective.r1_gamma:
        phases["r1"] = (objective.r1_phase, discriminator, config.objective.r1_interval)
    if config.objective.path_length_weight:
        phases["path_length"] = (objective.path_length_phase, generator, config.objective.path_length_interval)
    flops, activations = {}, {}
    for name, (loss, trained, _) in phases.items():
        for module in (generator, discriminator):
            module.requires_grad_(module is trained)
        kept: dict[int, int] = {}

        def keep(tensor: Tensor, kept: dict[int, int] = kept) -> Tensor:
            storage = tensor.untyped_storage()
            kept[storage._cdata] = storage.nbytes()
            return tensor

        with FlopCount() as counter:
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                value, _ = loss(shard)
            value.backward()
        trained.zero_grad(set_to_none=True)
        weights = sum(p.numel() * FLOAT_BYTES for p in (*generator.parameters(), *discriminator.parameters()))
        flops[name] = counter.total / images
        activations[name] = max(0.0, sum(kept.values()) - weights) / images
    return StepCount(
        sum(p.numel() for p in generator.parameters()),
        sum(p.numel() for p in generator.grouping_parameters()),
        sum(p.numel() for p in discriminator.parameters()),
        FLOAT_BYTES * (2 * z_dim + sum(h * w for h, w in generator.synthesis.noise_shapes())),
        flops,
        activations,
        {name: interval for name, (_, _, interval) in phases.items()},
        config.objective.path_length_batch_shrink,
    )


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
                    "stddev_groups_kept": plan.warning(config.discriminator.minibatch_stddev_group) is None,
                }
            )
    return records
