"""Speed of the operators on this device: native against reference, and against the bandwidth of a plain copy.

Shapes are those of a generator of config-E width (Karras et al. 2020, "Analyzing and Improving the Image Quality of
StyleGAN": 16384 / resolution channels, at most 512). Native and reference alternate within one run, so that the ratio
does not depend on what else the machine is doing, and the best of many runs counts: on a shared machine the median tells
of the neighbours. The limit is the bytes an operator must move (every input read once,
every output written once) over the bandwidth of `copy_` between tensors of the size of its output, in the same run.
"""

import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ops import bias_act, upfirdn2d
from ops._extension import implementation
from ops.host_memory import keep_freed_memory
from ops.upfirdn2d import resample_filter
from sarigan.errors import InputError

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32, "float64": torch.float64}
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


@dataclass(frozen=True)
class Case:
    """One operator at one shape; `bytes_forward` and `bytes_backward` are the least it has to move, in elements."""

    name: str
    shape: tuple[int, int, int, int]
    call: Callable[[Tensor, Tensor], Tensor]
    output_shape: tuple[int, int, int, int]
    elements_forward: int
    elements_backward: int


def cases(resolution: int, batch: int) -> list[Case]:
    """What a generator and a discriminator of this resolution call at their upper levels."""
    taps = resample_filter()
    found = []
    level = resolution
    while level >= max(32, resolution // 8):
        channels = min(512, 16384 // level)
        full, half = (batch, channels, level, level), (batch, channels, level // 2, level // 2)
        after_convolution = (batch, channels, level + 1, level + 1)
        rgb, rgb_half = (batch, 3, level, level), (batch, 3, level // 2, level // 2)

        def count(*shapes: tuple[int, ...]) -> int:
            return sum(torch.Size(shape).numel() for shape in shapes)

        found += [
            Case("bias_act", full, lambda x, bias: bias_act(x, bias), full, count(full, full), count(full, full, full)),
            Case(
                "blur after up-convolution",
                after_convolution,
                lambda x, _: upfirdn2d(x, taps.to(x.device), padding=1, gain=4.0),
                full,
                *[count(after_convolution, full)] * 2,
            ),
            Case(
                "upsample an image",
                rgb_half,
                lambda x, _: upfirdn2d(x, taps.to(x.device), up=2, padding=(2, 1, 2, 1), gain=4.0),
                rgb,
                *[count(rgb, rgb_half)] * 2,
            ),
            Case(
                "downsample a skip",
                full,
                lambda x, _: upfirdn2d(x, taps.to(x.device), down=2, padding=1),
                half,
                *[count(full, half)] * 2,
            ),
        ]
        level //= 2
    return found


def measure(case: Case, device: torch.device, dtype: torch.dtype, layout: str, seconds: float) -> dict[str, Any]:
    """Times of one case in milliseconds, forward and forward + backward."""
    generator = torch.Generator(device).manual_seed(0)

    def draw(shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=generator, device=device).to(dtype)

    x = draw(case.shape).contiguous(memory_format=LAYOUTS[layout])
    bias = draw(case.shape[1:2]).float()
    grad = draw(case.output_shape).contiguous(memory_format=LAYOUTS[layout])
    leaf, leaf_bias = x.clone().requires_grad_(), bias.clone().requires_grad_()

    def forward() -> None:
        with torch.no_grad():
            case.call(x, bias)

    def both() -> None:
        torch.autograd.grad(case.call(leaf, leaf_bias), [leaf, leaf_bias], grad, allow_unused=True)

    source, target = torch.empty_like(grad), torch.empty_like(grad)
    copies: list[float] = []
    times: dict[tuple[str, Callable[[], None]], list[float]] = {
        (mode, work): [] for mode in ("native", "reference") for work in (forward, both)
    }
    deadline = time.perf_counter() + seconds
    while len(copies) < 3 or time.perf_counter() < deadline:
        copies.append(_seconds(lambda: target.copy_(source), device))
        for (mode, work), found in times.items():
            with implementation(mode):
                found.append(_seconds(work, device))

    copied = 2 * grad.numel() * grad.element_size() / min(copies)
    native, reference = ({work: min(times[mode, work]) for work in (forward, both)} for mode in ("native", "reference"))
    backward = native[both] - native[forward]
    moved = {"forward": case.elements_forward, "backward": case.elements_backward}
    rates = {
        name: moved[name] * x.element_size() / max(spent, 1e-9)
        for name, spent in {"forward": native[forward], "backward": backward}.items()
    }
    return {
        "operator": case.name,
        "shape": list(case.shape),
        "layout": layout,
        "dtype": str(dtype).removeprefix("torch."),
        "native forward ms": round(native[forward] * 1e3, 3),
        "native both ms": round(native[both] * 1e3, 3),
        "reference both ms": round(reference[both] * 1e3, 3),
        "speed-up": round(reference[both] / native[both], 2),
        "copy GB/s": round(copied / 1e9, 1),
        "forward / copy": round(rates["forward"] / copied, 2),
        "backward / copy": round(rates["backward"] / copied, 2),
    }


def _seconds(work: Callable[[], Any], device: torch.device) -> float:
    """One call's time; on a GPU the mean over enough calls to hide the launches behind one another."""
    if device.type != "cuda":
        started = time.perf_counter()
        work()
        return time.perf_counter() - started
    calls = 20
    work()
    start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(calls):
        work()
    stop.record()
    stop.synchronize()
    return start.elapsed_time(stop) / 1e3 / calls


def add_arguments(parser: ArgumentParser) -> None:
    """Arguments of `scripts/benchmark.py ops`."""
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", nargs="+", default=["float32"], choices=DTYPES)
    parser.add_argument("--layout", nargs="+", default=list(LAYOUTS), choices=LAYOUTS)
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=3.0, help="time spent on each case")


def run(options: Namespace) -> list[dict[str, Any]]:
    """One record for each case, type and layout. Raises InputError."""
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"--device {options.device}: torch sees no CUDA device here; use --device cpu")
    if options.resolution < 32 or options.resolution & (options.resolution - 1):
        raise InputError(f"--resolution must be a power of two from 32 on, got {options.resolution}")
    if options.batch < 1:
        raise InputError(f"--batch must be positive, got {options.batch}")
    if options.device == "cpu":
        keep_freed_memory()  # the operators are measured, not the clearing of pages
    work = [
        (case, DTYPES[dtype], layout)
        for case in cases(options.resolution, options.batch)
        for dtype in options.dtype
        for layout in options.layout
    ]
    device = torch.device(options.device)
    return [measure(case, device, dtype, layout, options.seconds) for case, dtype, layout in tqdm(work, unit="case")]
