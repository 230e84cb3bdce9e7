"""Phases as CUDA graphs: `training.cuda_graphs`.

The step of a small network on a GPU takes as long as the host needs to start some thousand kernels one by one. A CUDA graph
holds all kernels of a phase, from the first layer to the optimiser, and one call starts them. It is a recording: its addresses
stand still, so what a phase is given is copied to where the recording reads, and what Python decides (which shapes, whether
layers mix two latents) makes a recording of its own.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from sarigan.errors import InputError
from sarigan.systems.system import Phase, Shard
from sarigan.training.config import TrainingConfig
from sarigan.training.scalars import ScalarSums

# The sums of a phase's scalars, and whether its update was skipped, a boolean scalar.
Outcome = tuple[ScalarSums, Tensor]
Update = Callable[[Phase, list[Shard]], Outcome]
Recorder = Callable[[Callable[[], Outcome]], tuple[Callable[[], None], Outcome]]

WARM_UP = 3  # plain updates before a recording: cuDNN chooses its algorithms, Adam makes its moments


def check_cuda_graphs(training: TrainingConfig, device: torch.device, num_ranks: int) -> None:
    """InputError where `training.cuda_graphs` is asked for and impossible."""
    if not training.cuda_graphs:
        return
    if device.type != "cuda":
        raise InputError(f"training.cuda_graphs=true needs a GPU, the run is on {device.type}: set it to false")
    if num_ranks > 1:
        raise InputError(f"training.cuda_graphs=true is for one process, this run has {num_ranks}: set it to false")


class PhaseGraphs:
    """Makes the updates of phases as `update` does, recorded from the fourth of each form on."""

    def __init__(self, update: Update, record: Recorder) -> None:
        self.update, self.record = update, record
        self.num_plain: Counter[Hashable] = Counter()
        self.recordings: dict[Hashable, _Recording] = {}

    def __call__(self, phase: Phase, shards: list[Shard]) -> Outcome:
        """As `update`; the outcome is the caller's."""
        form = (phase.name, _form(shards))
        if form not in self.recordings:
            if self.num_plain[form] < WARM_UP:
                self.num_plain[form] += 1
                return self.update(phase, shards)
            self.recordings[form] = _Recording(self.update, self.record, phase, shards)
        return self.recordings[form].play(shards)


class _Recording:
    def __init__(self, update: Update, record: Recorder, phase: Phase, shards: list[Shard]) -> None:
        like = phase.parameters[0]
        self.shards: list[Shard] = _replaced(shards, lambda value: _own(value, like.device))
        self.inputs = _inputs(self.shards)
        self.groups = phase.optimizer.param_groups
        # float32 whatever the parameters are: the fused Adam of a GPU reads no other.
        self.rates = [torch.full((), group["lr"], dtype=torch.float32, device=like.device) for group in self.groups]
        with self._recordable():
            self.replay, self.outcome = record(lambda: update(phase, self.shards))

    @contextmanager
    def _recordable(self) -> Iterator[None]:
        """Adam may be recorded, with rates that can be changed afterwards."""
        plain = [(group["lr"], group["capturable"]) for group in self.groups]
        for group, rate in zip(self.groups, self.rates, strict=True):
            group["lr"], group["capturable"] = rate, True
        try:
            yield
        finally:
            for group, (rate, capturable) in zip(self.groups, plain, strict=True):
                group["lr"], group["capturable"] = rate, capturable

    def play(self, shards: list[Shard]) -> Outcome:
        for mine, given in zip(self.inputs, _inputs(shards), strict=True):
            if isinstance(given, Tensor):
                mine.copy_(given)
            else:
                mine.fill_(given)
        for rate, group in zip(self.rates, self.groups, strict=True):
            rate.fill_(group["lr"])
        self.replay()
        # Other recordings use the same memory.
        sums, skipped = self.outcome
        copies = ScalarSums()
        copies.vectors = {names: vector.clone() for names, vector in sums.vectors.items()}
        return copies, skipped.clone()


class CudaRecorder:
    """Records on the current device. All recordings share their memory: only one is played at a time."""

    def __init__(self) -> None:
        self.pool = torch.cuda.graph_pool_handle()

    def __call__(self, function: Callable[[], Outcome]) -> tuple[Callable[[], None], Outcome]:
        graph = torch.cuda.CUDAGraph()
        # The loader's thread pins memory meanwhile, which would break a recording in mode `global`.
        with torch.cuda.graph(graph, pool=self.pool, capture_error_mode="thread_local"):
            outcome = function()
        return graph.replay, outcome


def _own(value: Tensor | int, device: torch.device) -> Tensor:
    return value.detach().clone() if isinstance(value, Tensor) else torch.full((), value, device=device)


def _is_input(value: Any) -> bool:
    """Tensors, and whole numbers: what is drawn anew in every step."""
    return isinstance(value, Tensor) or (isinstance(value, int) and not isinstance(value, bool))


def _replaced(value: Any, function: Callable[[Any], Any]) -> Any:
    """Nested lists and dataclasses with `function` applied to every input in them."""
    if _is_input(value):
        return function(value)
    if isinstance(value, list):
        return [_replaced(part, function) for part in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        held = {field.name: _replaced(getattr(value, field.name), function) for field in dataclasses.fields(value)}
        return type(value)(**held)
    return value


def _inputs(value: Any) -> list[Any]:
    found: list[Any] = []

    def note(part: Any) -> Any:
        found.append(part)
        return part

    _replaced(value, note)
    return found


def _form(value: Any) -> Hashable:
    """Two values of one form differ in their inputs only, which then have the same shapes and types."""
    if isinstance(value, Tensor):
        return value.shape, value.dtype
    if _is_input(value):
        return "number"
    if isinstance(value, list):
        return tuple(_form(part) for part in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return type(value), tuple(_form(getattr(value, field.name)) for field in dataclasses.fields(value))
    return value  # type: ignore[no-any-return]
