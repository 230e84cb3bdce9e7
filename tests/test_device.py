"""The device of a process: by name, by local rank, and what is refused."""

from collections.abc import Callable, Iterator

import pytest
import torch

from sarigan.config import Config
from sarigan.device import resolve_device, to_device
from sarigan.errors import InputError
from sarigan.training.precision import best_memory_format, resolve_precision

Gpus = Callable[..., list[int]]


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Gpus:
    """gpus(number, local_rank, processes): a machine with GPUs that nothing computes on; returns what becomes current."""

    def build(number: int, local_rank: int | None = None, processes: int = 1) -> list[int]:
        current: list[int] = []
        monkeypatch.setattr(torch.cuda, "is_available", lambda: number > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: number)
        # Beneath torch.cuda.set_device, which wants an index.
        monkeypatch.setattr(torch._C, "_cuda_setDevice", current.append, raising=False)
        if local_rank is not None:
            for name, value in {"WORLD_SIZE": processes, "RANK": local_rank, "LOCAL_RANK": local_rank}.items():
                monkeypatch.setenv(name, str(value))
        return current

    return build


@pytest.fixture
def backends() -> Iterator[None]:
    """Puts back what a run on a GPU sets of PyTorch's backends."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
    yield
    matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = before


@pytest.mark.parametrize(
    ("name", "local_rank", "index"),
    [("auto", None, 0), ("cuda", None, 0), ("cuda:1", None, 1), ("auto", 1, 1), ("cuda", 1, 1), ("cuda", 0, 0)],
)
def test_a_process_has_the_gpu_of_its_local_rank(name: str, local_rank: int | None, index: int, gpus: Gpus) -> None:
    current = gpus(2, local_rank, processes=2)
    assert resolve_device(name, "--device") == torch.device("cuda", index)
    assert current == [index]


@pytest.mark.parametrize("name", ["auto", "cpu"])
def test_cpu(name: str, gpus: Gpus) -> None:
    current = gpus(0 if name == "auto" else 2, 1, processes=2)
    assert resolve_device(name, "--device") == torch.device("cpu") and current == []


@pytest.mark.parametrize(
    ("name", "number", "local_rank", "line"),
    [
        ("cuda", 0, None, "--device must be auto or cpu where PyTorch sees no CUDA device, got cuda"),
        ("cuda:2", 2, None, "--device: PyTorch sees 2 CUDA devices, too few for cuda:2; the first is cuda:0"),
        ("cuda:0", 2, 1, "--device must be auto, cpu or cuda with several processes, got cuda:0"),
        ("auto", 2, 2, "--device: PyTorch sees 2 CUDA devices, too few for cuda:2; start at most 2 processes on a machine"),
        ("gpu", 2, None, "--device must be auto, cpu, cuda or cuda:N, got 'gpu'"),
        ("cuda:x", 2, None, "--device must be auto, cpu, cuda or cuda:N, got 'cuda:x'"),
    ],
)
def test_what_is_not_there_is_one_line(name: str, number: int, local_rank: int | None, line: str, gpus: Gpus) -> None:
    gpus(number, local_rank, processes=3)
    with pytest.raises(InputError) as caught:
        resolve_device(name, "--device")
    assert str(caught.value) == line


@pytest.mark.parametrize(
    ("overrides", "memory_format"),
    [
        (("training.precision=float32",), "contiguous"),
        (("training.precision=float32", "training.tf32=true"), "channels_last"),
        (("training.precision=bfloat16",), "channels_last"),
        (("training.precision=float32", "training.memory_format=channels_last"), "channels_last"),
        (("training.precision=float16", "training.memory_format=contiguous"), "contiguous"),
    ],
)
def test_training_resolves_as_the_scripts_do(
    overrides: tuple[str, ...], memory_format: str, gpus: Gpus, tiny_config: Callable[..., Config], backends: None
) -> None:
    current = gpus(2, 1, processes=2)
    precision = resolve_precision(tiny_config("training.device=cuda", *overrides).training)
    assert precision.device == torch.device("cuda", 1) and current == [1]
    assert precision.memory_format == memory_format


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16", "float64"])
def test_a_cpu_computes_in_channels_last(precision: str) -> None:
    assert best_memory_format(torch.device("cpu"), precision, tf32=False) == "channels_last"


def test_an_unknown_memory_format_is_refused(tiny_config: Callable[..., Config]) -> None:
    with pytest.raises(InputError, match="training.memory_format must be one of auto, channels_last, contiguous, got 'nchw'"):
        tiny_config("training.memory_format=nchw")


def test_copies_keep_shapes_and_values() -> None:
    parts = [torch.arange(6.0).view(1, 2, 3), torch.ones(2, 1)]
    there = to_device(parts, torch.device("cpu"), torch.float64)
    assert all(torch.equal(a, b.double()) and a.dtype == torch.float64 for a, b in zip(there, parts, strict=True))
