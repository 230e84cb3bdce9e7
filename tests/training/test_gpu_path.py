"""What a GPU would meet, without one: every phase of every method on tensors that only say they are on a GPU, and host reads.

A fake CUDA tensor has a shape, a type and a device, and no numbers: PyTorch refuses to mix it with tensors elsewhere, and to
read from it on the host. Copies between host and device are looked for, since the host waits for those from pageable memory.
The engine of backward passes asks for a driver where torch is built for CUDA: without one, gradients are zeros here.
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ops._extension import implementation
from sarigan.config import Config, load_config
from sarigan.data.batch import Batch
from sarigan.device import to_device
from sarigan.runs.checkpoint_hook import to_host
from sarigan.systems.style import system as style_system
from sarigan.systems.style.draws import StyleRandomness
from sarigan.training.augmentation import augmentation, filtering, geometry
from sarigan.training.augmentation.image_random import ImageRandom
from sarigan.training.hooks import LogHook, RunLogger
from sarigan.training.precision import Precision, best_memory_format
from sarigan.training.state import TrainingState
from sarigan.training.trainer import Trainer

GPU = torch.device("cuda", 0)
SMALL = (
    "data.name=avatars", "data.num_workers=0",
    "generator.resolution=8", "generator.z_dim=8", "generator.style_dim=8", "generator.mapping_layers=2",
    "generator.channel_base=128", "generator.channel_max=16", "generator.grouping.max_group_share=0.25",
    "discriminator.channel_base=128", "discriminator.channel_max=16",
    "objective.r1_interval=1", "objective.path_length_interval=1", "training.batch_size=8",
)  # fmt: skip
CONSTANTS = ("generator.grouping.threshold=constant", "generator.grouping.learn_temperature=false")
METHODS: dict[str, tuple[str, ...]] = {
    "sarigan": (),
    "sarigan_release": (),
    "sarigan_activation": (),
    "block_diagonal": (),
    "contiguous": (),
    "random": (),
    "stylegan": (),
    "stylegan2": (),
    "stylegan2_f": (),
    "sarigan constants": (*CONSTANTS, "objective.mixing_probability=1"),
    "sarigan halves": ("objective.mixing_kind=halves", "objective.mixing_probability=1", "generator.style_biases=true"),
    "sarigan codes": ("objective.information_target=codes", "objective.mixing_probability=0"),
    "sarigan rounds": ("training.accumulation_rounds=2",),
    "sarigan ada": ("training.augmentation.name=ada", "training.augmentation.transforms=[bgcfnc]"),
    "sarigan diffaugment": ("training.augmentation.name=diffaugment",),
}
READS = {"_local_scalar_dense", "nonzero", "masked_select", "unique_consecutive", "_unique2", "equal", "is_nonzero"}


def config_of(method: str, *overrides: str) -> Config:
    """A shipped method of the avatars, small, with all phases in every step; `METHODS` may change it."""
    path = Path(__file__).resolve().parents[2] / "configs" / f"avatars_64_{method.split()[0]}.yaml"
    return load_config(path, [*SMALL, *METHODS.get(method, ()), *overrides])


class Copies(TorchDispatchMode):
    """Notes the tensors that go from the host to the device or back, and the types that convolutions compute in."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[str] = []  # for which the host may wait
        self.free: list[tuple[int, ...]] = []  # shapes of those without waiting
        self.convolved: set[torch.dtype] = set()
        self.channels_last: set[bool] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        tensors = [value for value in tree_leaves((args, kwargs, result)) if isinstance(value, Tensor)]
        if name in ("_to_copy", "copy_") and len({tensor.device.type for tensor in tensors}) > 1:
            told = (kwargs or {}).get("non_blocking") or (name == "copy_" and len(args) > 2 and args[2])
            if told:
                self.free.append(tuple(tensors[-1].shape))
            else:
                self.waiting.append(f"{function} of {tuple(tensors[-1].shape)}")
        if name == "convolution":
            self.convolved.add(args[0].dtype)
            self.channels_last.add(args[0].is_contiguous(memory_format=torch.channels_last))
        return result


@pytest.fixture
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[Trainer, Copies]]]:
    """fake_gpu(config, precision): a trainer on fake CUDA tensors, and what it copies from now on."""
    with ExitStack() as opened:
        opened.enter_context(implementation("reference"))
        try:
            opened.enter_context(FakeTensorMode())
            # What is made of Python's numbers begins on the host and is copied, as on a GPU, also where there is one.
            opened.callback(torch._C._set_only_lift_cpu_tensors, torch._C._only_lift_cpu_tensors())
            torch._C._set_only_lift_cpu_tensors(True)
            assert (torch.ones(2, device=GPU) + 1).device == GPU
            for constants in (filtering.bank_on, geometry.filters):  # copied once a process, before the first step here
                constants.cache_clear()
                opened.callback(constants.cache_clear)
                constants(GPU, torch.float32)
        except (RuntimeError, AssertionError, AttributeError, NotImplementedError) as error:
            pytest.skip(f"torch {torch.__version__} has no fake CUDA tensors without a GPU: {error}")
        # autocast asks whether there is a GPU, and a generator of random numbers is one of the device.
        monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
        monkeypatch.setattr(style_system, "StyleRandomness", FakeRandomness)
        monkeypatch.setattr(augmentation, "ImageRandom", FakeImageRandom)
        monkeypatch.setattr(augmentation.Augmentation, "_source", torch.Generator())
        monkeypatch.setattr(Precision, "place", place)
        monkeypatch.setattr(FakeTensor, "__deepcopy__", copied)

        def build(config: Config, name: str = "float32", tf32: bool = False) -> tuple[Trainer, Copies]:
            precision = Precision(GPU, name, best_memory_format(GPU, name, tf32))
            trainer = Trainer(TrainingState(config, precision), None)  # type: ignore[arg-type]  # no data is read
            if not backward_works():
                parameters = [parameter for network in trainer.parameters.values() for parameter in network]
                monkeypatch.setattr(Tensor, "backward", lambda loss: give_zero_gradients(parameters))
                monkeypatch.setattr(torch.autograd, "grad", lambda y, x, create_graph: (torch.ones_like(x) * y,))
            return trainer, opened.enter_context(Copies())

        yield build


def copied(tensor: FakeTensor, memo: dict[int, Any]) -> Tensor:
    """A deep copy, which would otherwise be one of the mode as well."""
    copy = tensor.detach().clone()
    return nn.Parameter(copy) if isinstance(tensor, nn.Parameter) else copy


def backward_works() -> bool:
    """Whether fake CUDA tensors have backward passes here."""
    x = torch.ones(2, device=GPU, requires_grad=True)
    try:
        x.square().sum().backward()
    except RuntimeError:
        return False
    return x.grad is not None


def give_zero_gradients(parameters: list[nn.Parameter]) -> None:
    """In place of a backward pass."""
    for parameter in parameters:
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)


class FakeRandomness(StyleRandomness):
    """Draws of the right shapes on the fake device."""

    def __init__(self, *arguments: Any) -> None:
        *others, device, dtype = arguments
        super().__init__(*others, torch.device("cpu"), dtype)
        self.device = device

    @property
    def _source(self) -> torch.Generator:  # type: ignore[override]
        return torch.Generator()

    def _normal(self, *shape: int) -> Tensor:
        return torch.empty(shape, device=self.device, dtype=self.dtype)


class FakeImageRandom(ImageRandom):
    """Draws of the right shapes on the fake device."""

    def uniform(self) -> Tensor:
        return self.normal()

    def normal(self, *shape: int) -> Tensor:
        return torch.empty((self.batch_size, *shape), device=GPU, dtype=self.dtype)[self.part]


def place(precision: Precision, module: nn.Module) -> nn.Module:
    """As `Precision.place`; `Module.to` cannot exchange a fake parameter for one on another device."""

    def moved(tensor: Tensor) -> Tensor:
        dtype = precision.parameter_dtype if tensor.is_floating_point() else tensor.dtype
        tensor = tensor.detach().to(precision.device, dtype)
        return tensor.contiguous(memory_format=precision.layout) if tensor.ndim == 4 else tensor

    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            part._parameters[name] = nn.Parameter(moved(parameter))
        for name, buffer in part.named_buffers(recurse=False):
            part._buffers[name] = moved(buffer)
    return module


def images(trainer: Trainer) -> Iterator[Batch]:
    """Pinned batches, on end."""
    size = trainer.state.config.generator.resolution
    return itertools.repeat(Batch(torch.zeros(trainer.batch_size, 3, size, size, dtype=torch.uint8)))


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("method", METHODS)
def test_every_phase_stays_on_the_device(method: str, precision: str, fake_gpu: Callable[..., Any]) -> None:
    """Nothing is mixed, nothing read, and the images alone are copied, from pinned memory."""
    trainer, copies = fake_gpu(config_of(method), precision)
    trainer.train_step(images(trainer))
    assert copies.waiting == [] and copies.free == [(8, 3, 8, 8)]
    expected = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision]
    assert expected in copies.convolved and (precision != "float32" or len(copies.convolved) == 1)


@pytest.mark.parametrize(("precision", "tf32", "channels_last"), [("float32", False, False), ("float32", True, True),
                                                                  ("bfloat16", False, True)])  # fmt: skip
def test_features_keep_the_layout(precision: str, tf32: bool, channels_last: bool, fake_gpu: Callable[..., Any]) -> None:
    trainer, copies = fake_gpu(config_of("sarigan"), precision, tf32)
    trainer.train_step(images(trainer))
    weights = [weight for weight in trainer.parameters["generator"] if weight.ndim == 4 and weight.shape[2] > 1]
    assert {weight.is_contiguous(memory_format=torch.channels_last) for weight in weights} == {channels_last}
    assert copies.channels_last >= {channels_last}


def test_a_copy_or_a_read_in_a_step_is_seen(fake_gpu: Callable[..., Any]) -> None:
    """The tests above can fail."""
    trainer, copies = fake_gpu(config_of("sarigan"))
    phase = trainer.phases[0]
    loss = phase.loss
    phase.loss = lambda shard: (loss(shard)[0] * torch.as_tensor(1.0, device=GPU), {})
    trainer.train_step(images(trainer))
    assert copies.waiting == ["aten._to_copy.default of ()"]
    phase.loss = lambda shard: (loss(shard)[0] * float(shard.batch.images.mean()), {})
    with pytest.raises(DataDependentOutputException):
        trainer.train_step(images(trainer))
    phase.loss = lambda shard: (loss(shard)[0] + torch.zeros(2).sum(dim=0, keepdim=True).sum(dim=(0,), keepdim=True), {})
    with pytest.raises(RuntimeError, match="device"):
        trainer.train_step(images(trainer))


def test_many_tensors_take_one_copy_to_the_device_and_one_wait_back(
    fake_gpu: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, copies = fake_gpu(config_of("sarigan"))
    assert to_device([], GPU, torch.float32) == []  # the noise of a generator without any
    there = to_device([torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 8, 8)], GPU, torch.float32)
    assert [(tuple(part.shape), part.device) for part in there] == [((1, 1, 4, 4), GPU), ((1, 1, 8, 8), GPU)]
    assert copies.waiting == [] and copies.free == [(80,)]
    copies.free.clear()
    waits: list[torch.device] = []

    class Stream:
        def __init__(self, device: torch.device) -> None:
            self.device = device

        def synchronize(self) -> None:
            waits.append(self.device)

    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    trainer.train_step(images(trainer))
    copies.free.clear()
    state = trainer.system.state_dict()
    tensors = [value for value in tree_leaves(to_host(state)) if isinstance(value, Tensor)]
    assert len(tensors) > 50 and {tensor.device.type for tensor in tensors} == {"cpu"}
    assert copies.waiting == [] and len(copies.free) == len(tensors) and waits == [GPU]


class HostReads(TorchFunctionMode):
    """Counts what would make the host wait for a device, on the CPU: numbers read, and shapes that depend on numbers."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.below = _ReadOperators(self.found)

    def __enter__(self) -> "HostReads":
        self.below.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self.below.__exit__(*error)

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in (Tensor.tolist, Tensor.numpy):  # without an operator
            self.found.append(function.__name__)
        return function(*args, **(kwargs or {}))


class _ReadOperators(TorchDispatchMode):
    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        masks = name in ("index", "index_put_") and any(i is not None and i.dtype == torch.bool for i in args[1])
        if name in READS or masks:
            self.found.append(name)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("method", METHODS)
def test_no_step_reads_on_the_host_and_a_tick_reads_thrice(
    method: str, tiny_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    """On any device, so where there are no fake tensors too: the check, the means and the groups are a read each."""
    trainer = tiny_trainer(config_of(method, "training.device=cpu", "training.precision=float32"))
    batches = images(trainer)
    with HostReads() as step:
        for _ in range(2):
            trainer.train_step(batches)
    assert step.found == []
    log = LogHook(RunLogger(tmp_path), 1.0)
    log.before_training(trainer)
    with HostReads() as tick:
        log.tick(trainer)
    grouped = bool(trainer.system.generator.grouped_layers())
    reads = ["tolist"] * (3 if grouped else 2)
    assert tick.found == reads + ["_local_scalar_dense"] * trainer.state.augmentation.config.is_adaptive  # p


def test_host_reads_are_counted() -> None:
    """The test above can fail."""
    x = torch.arange(3.0)
    with HostReads() as reads:
        assert float(x.sum()) == 3 and x[x > 0].tolist() == [1.0, 2.0] and bool(x.sum() > 0) and len(x.nonzero()) == 2
    assert reads.found == ["_local_scalar_dense", "index", "tolist", "_local_scalar_dense", "nonzero"]
