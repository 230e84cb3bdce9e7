"""Is everything in order for a run? The machine, the configuration on it, and two steps at tiny widths."""

import dataclasses
import os
import platform
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ops.host_memory import available_and_total_bytes
from sarigan import distributed
from sarigan.config import Config
from sarigan.data.batch import Batch
from sarigan.data.labels import ClassLabels, LabelledDataset
from sarigan.data.loader import KeyedDataset
from sarigan.diagnosis.scaling import checkpoint_size, count_step
from sarigan.errors import InputError
from sarigan.metrics.catalogue import metrics_named
from sarigan.metrics.config import EvaluationConfig
from sarigan.metrics.evaluation import Evaluation
from sarigan.runs.resume import resume_summary
from sarigan.runs.summary import size_text
from sarigan.training.batch_plan import plan_batch
from sarigan.training.cuda_graphs import WARM_UP, check_cuda_graphs
from sarigan.training.precision import resolve_precision
from sarigan.training.state import TrainingState
from sarigan.training.trainer import Trainer

GIB = 2**30


@dataclass(frozen=True)
class Finding:
    """`verdict`: ok, note (works, but could be better) or bad (will not work)."""

    verdict: str
    subject: str
    text: str


def software() -> Iterator[Finding]:
    """Python, PyTorch, CUDA and NCCL versions."""
    yield Finding("ok", "software", f"Python {platform.python_version()}, torch {torch.__version__}, {platform.platform()}")
    if torch.version.cuda is None:
        yield Finding("ok", "software", "torch is built without CUDA: training on CPUs")
        return
    nccl = ".".join(map(str, torch.cuda.nccl.version())) if torch.cuda.is_available() else "none in use"
    yield Finding("ok", "software", f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}, NCCL {nccl}")


def devices() -> Iterator[Finding]:
    """Whether this torch is compiled for each GPU."""
    if not torch.cuda.is_available():
        threads = torch.get_num_threads()
        yield Finding("note", "devices", f"no GPU; CPU {torch.backends.cpu.get_cpu_capability()} with {threads} threads")
        return
    arches = torch.cuda.get_arch_list()
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        name = f"cuda:{index} {properties.name}, {properties.total_memory / GIB:.0f} GiB"
        yield architecture_finding(name, (properties.major, properties.minor), arches)


def architecture_finding(name: str, capability: tuple[int, int], arches: Sequence[str]) -> Finding:
    """Whether a device of compute capability (major, minor) runs code compiled for `arches` (sm_80, compute_90, ...)."""
    major, minor = capability

    def numbers(prefix: str) -> list[tuple[int, int]]:
        found = [arch.removeprefix(prefix).rstrip("af") for arch in arches if arch.startswith(prefix)]
        return [(int(n[:-1]), int(n[-1])) for n in found if n.isdigit()]

    # Machine code runs on the same major version from its minor on; PTX is compiled for anything newer.
    runs = any(a == major and b <= minor for a, b in numbers("sm_")) or any(p <= capability for p in numbers("compute_"))
    text = f"{name}, compute capability {major}.{minor}"
    if runs:
        return Finding("ok", "devices", f"{text}: in this torch ({' '.join(arches)})")
    remedy = "a newer torch"
    if capability < (7, 5):
        index = "https://download.pytorch.org/whl/cu126"
        remedy = f"the wheels of the CUDA 12.6 line: pip install --force-reinstall torch torchvision --index-url {index}"
    return Finding("bad", "devices", f"{text}: not in this torch, which has {' '.join(arches)}; install {remedy}")


def operators() -> Iterator[Finding]:
    """Which operators run on each kind of device (native or reference), and why."""
    from ops._extension import native_for

    mode = os.environ.get("SARIGAN_OPS") or "auto"
    for kind in ("cpu", *(["cuda"] if torch.cuda.is_available() else [])):
        native = native_for(torch.zeros(1, 1, device=kind))
        if native is not None:
            yield Finding("ok", "operators", f"native on {kind} (SARIGAN_OPS={mode})")
            continue
        why = "SARIGAN_OPS=reference" if mode == "reference" else "no build here; `python -m ops.build` makes one"
        yield Finding("note", "operators", f"PyTorch reference on {kind}: {why}")


def compilers() -> Iterator[Finding]:
    """The compilers for native operators."""
    for names, need in ((("c++", "g++", "clang++"), "the CPU's"), (("nvcc",), "CUDA's")):
        found = next((path for path in map(shutil.which, names) if path), None)
        if found is None and "nvcc" in names and not torch.cuda.is_available():
            continue
        text = found or f"no {' or '.join(names)}: {need} native operators cannot be built"
        yield Finding("ok" if found else "note", "compiler", text)


def memory() -> Iterator[Finding]:
    """Host memory, and the shared memory of data workers."""
    found = available_and_total_bytes()
    if found is None:
        return
    free, total = found
    yield Finding("ok" if free > 4 * GIB else "note", "memory", f"{free / GIB:.1f} of {total / GIB:.1f} GiB available")
    shared = Path("/dev/shm")
    if shared.is_dir():
        room = shutil.disk_usage(shared).free
        hint = "" if room > GIB else ", little for data workers: data.num_workers=0, or docker run --shm-size=8g"
        yield Finding("note" if hint else "ok", "memory", f"/dev/shm: {room / GIB:.1f} GiB{hint}")


def examine(config: Config, run_dir: Path) -> Iterator[Finding]:
    """All findings in order; an exception of a check becomes a finding."""
    checks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("software", software),
        ("devices", devices),
        ("operators", operators),
        ("compiler", compilers),
        ("disk", lambda: disk(run_dir, config)),
        ("memory", memory),
        ("batch", lambda: batch(config)),
        ("data", lambda: data(config)),
        ("run", lambda: run(config, run_dir)),
        ("dry run", lambda: dry_run(config)),
        ("metrics", lambda: metrics(config)),
    ]
    for subject, check in checks:
        try:
            yield from check()
        except InputError as error:
            yield Finding("bad", subject, str(error))
        except Exception as error:
            yield Finding("bad", subject, f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}")


def disk(run_dir: Path, config: Config) -> Iterator[Finding]:
    """Room for checkpoints where the run goes."""
    place = next(path for path in (run_dir.absolute(), *run_dir.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    # The best and one that is being written, beside those that are kept.
    need = checkpoint_size(config) * (config.training.num_checkpoints + 2)
    verdict = "ok" if free > 2 * need else "bad" if free < need else "note"
    yield Finding(verdict, "disk", f"{place}: {size_text(free)} free, checkpoints take up to {size_text(need)}")
    if not place.is_dir():
        yield Finding("bad", "disk", f"{run_dir}: {place} is a file")
    elif not os.access(place, os.W_OK):
        yield Finding("bad", "disk", f"{place}: may not be written")


def batch(config: Config) -> Iterator[Finding]:
    """How the batch is cut over the GPUs of this machine, and the memory that a GPU needs as `scaling` counts it."""
    num_ranks = max(1, torch.cuda.device_count())
    plan = plan_batch(config.training, num_ranks)
    warning = config.batch_warning(plan)
    yield Finding("note" if warning else "ok", "batch", plan.describe() + (f"; {warning}" if warning else ""))
    if torch.cuda.is_available():
        need, there = count_step(config).memory_bytes(plan), torch.cuda.get_device_properties(0).total_memory
        text = f"a GPU of {there / GIB:.0f} GiB, counted {need / GIB:.1f} GiB in float32 without workspaces"
        hint = "" if need < 0.9 * there else "; training.max_images_per_pass accumulates the same batch in less"
        yield Finding("note" if hint else "ok", "batch", text + hint)


def run(config: Config, run_dir: Path) -> Iterator[Finding]:
    """The checkpoint that a run in this directory would go on from."""
    found = resume_summary(config, run_dir)
    yield Finding("ok", "run", f"{run_dir}: {'begins there' if found is None else '; '.join(found.splitlines())}")


def data(config: Config) -> Iterator[Finding]:
    """The training images: their description, and a few of them decoded."""
    config, dataset = config.open_data()
    size = (3, *config.image_size)
    for index in sorted({0, len(dataset) // 2, len(dataset) - 1}):
        image = dataset[index]
        if image.shape != size or image.dtype != np.uint8:
            yield Finding("bad", "data", f"image {index} is {image.dtype} {image.shape}, not uint8 {size}")
            return
    yield Finding("ok", "data", dataset.describe())


class _Noise:
    """Random images, of the classes in turn, with what an example of the system has beside its image."""

    content_key = "noise"

    def __init__(self, example: Batch, class_names: list[str]) -> None:
        self.shape, self.class_names = tuple(example.images.shape[1:]), class_names
        self.resolution = self.shape[2]
        beside = {"layout": example.layout, "edges": example.edges}
        self.beside = {name: value[0].numpy() for name, value in beside.items() if value is not None}

    def class_labels(self, source: str) -> ClassLabels:
        """The label of every image."""
        return ClassLabels(self.class_names, [index % len(self.class_names) for index in range(len(self))], str)

    def extras(self, index: int) -> dict[str, np.ndarray]:
        """The example's layout, and its edges."""
        return self.beside

    def __len__(self) -> int:
        return max(64, 2 * len(self.class_names))

    def __getitem__(self, index: int) -> np.ndarray:
        return np.random.default_rng(index).integers(0, 256, self.shape, dtype=np.uint8)

    def describe(self) -> str:
        return "random"


def noise_for(state: TrainingState) -> KeyedDataset:
    """Random images, with labels where the networks have classes."""
    names, labels = state.config.class_names, state.config.data.labels
    images = _Noise(state.system.example_batch(1, torch.device("cpu"), torch.float32), names)
    return LabelledDataset(images, labels) if names and labels else images


def tiny_state(config: Config) -> TrainingState:
    """The configuration's method at tiny widths on its device, with all phases in every step, for the classes of its data."""
    if config.data.labels is not None:
        config, _ = config.open_data()
    num_steps = WARM_UP + 2 if config.training.cuda_graphs else 2
    training = dataclasses.replace(
        config.training, batch_size=8, accumulation_rounds=1, images_per_rank=None, max_minutes=None,
        total_kimg=0.008 * num_steps,
    )  # fmt: skip
    tiny = config.tiny()
    tiny = dataclasses.replace(tiny, data=dataclasses.replace(tiny.data, num_workers=0), training=training)
    return TrainingState(tiny, resolve_precision(tiny.training))


def dry_run(config: Config) -> Iterator[Finding]:
    """Two training steps, or as many as it takes to record phases where CUDA graphs are asked for."""
    state = tiny_state(config)
    precision = state.precision
    check_cuda_graphs(config.training, precision.device, distributed.world_size())
    trainer = Trainer(state, noise_for(state))
    trainer.run()
    trainer.check_finite()
    skipped = trainer.nonfinite.total()
    phases = ", ".join(phase.name for phase in trainer.phases)
    text = f"{trainer.total_steps} steps at tiny widths, {precision.name} on {precision.device}: {phases}"
    yield Finding("ok" if not skipped else "bad", "dry run", text if not skipped else f"{text}; {skipped} not finite")


def metrics(config: Config) -> Iterator[Finding]:
    """Whether the metrics that training will compute have what they need."""
    if not config.metrics.names:
        return
    state, wanted = tiny_state(config), config.metrics
    noise = noise_for(state)
    num_real = min(wanted.num_real_images or len(noise), len(noise))  # more would be warned of, which says nothing of the data
    protocol = EvaluationConfig(wanted.num_images, num_real, wanted.preprocessing, batch_size=wanted.batch_size)
    evaluation = Evaluation(protocol, state.precision.device, data=noise, **state.system.evaluation_inputs())
    for metric in metrics_named(wanted.names):
        metric.check(evaluation)
    yield Finding("ok", "metrics", f"{', '.join(wanted.names)} every {wanted.interval_kimg:g} kimg")
