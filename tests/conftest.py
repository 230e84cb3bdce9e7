"""Fixtures shared by all tests."""

import os
import random
import signal
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import register_random, settings
from PIL import Image
from process_tools import no_process_left

from sarigan.config import Config, load_config
from sarigan.training.precision import resolve_precision
from sarigan.training.state import TrainingState
from sarigan.training.trainer import Hook, Trainer

# A shell lets what it runs in the background ignore Ctrl-C, and all processes that the tests start would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in every run: a failure anywhere is a failure everywhere.
settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
settings.load_profile("repeatable")


class TorchRandom:
    """PyTorch's global generator, which Hypothesis sets to the same state before every example, as it does NumPy's."""

    seed = staticmethod(torch.manual_seed)
    getstate, setstate = staticmethod(torch.get_rng_state), staticmethod(torch.set_rng_state)


TORCH_RANDOM = TorchRandom()
register_random(TORCH_RANDOM)  # which keeps a weak reference


def seed_all(name: str) -> None:
    """Global generators to a state that depends on a name alone, not on what ran before.

    SARIGAN_TEST_SEED=1, 2, ... gives other draws, by which tolerances that only fit one draw are found.
    """
    seed = zlib.crc32(f"{name}{os.environ.get('SARIGAN_TEST_SEED', '')}".encode())
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)


@pytest.hookimpl(hookwrapper=True)
def pytest_fixture_setup(fixturedef: Any, request: pytest.FixtureRequest) -> Iterator[None]:
    """A fixture that serves several tests draws the same numbers whichever of them comes first, and takes none from it."""
    if fixturedef.scope == "function":
        yield
        return
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    seed_all(f"{fixturedef.baseid}::{fixturedef.argname}[{getattr(request, 'param_index', '')}]")
    yield
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    torch.set_rng_state(states[2])


@pytest.fixture(autouse=True)
def seeded(request: pytest.FixtureRequest) -> None:
    """What a test draws from global generators depends on its name."""
    seed_all(request.node.nodeid)


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    """No handler outlives the test that set it: a forked process would inherit it, and perhaps not end when it is asked to."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        left = signal.getsignal(number)
        # Commands that train have one of their own from their import on, others give it up for Python's.
        known = left in (handler, signal.SIG_DFL, signal.default_int_handler)
        assert known or getattr(left, "__module__", None) == "sarigan.runs.early_exit", (number, left)


@pytest.fixture(autouse=True)
def own_processes() -> Iterator[None]:
    """No process outlives the test that started it, whatever fails."""
    with no_process_left():
        yield


# A whole SariGAN in 8 px: every phase of the objective is due within a few steps.
TINY = (
    "data.flip=true", "data.num_workers=0",
    "generator.resolution=8", "generator.z_dim=8", "generator.style_dim=8", "generator.mapping_layers=2",
    "generator.channel_base=32", "generator.channel_max=8", "generator.grouping.num_groups=3",
    "generator.grouping.threshold=learned",
    "discriminator.channel_base=32", "discriminator.channel_max=8",
    "objective.r1_gamma=1", "objective.r1_interval=3", "objective.path_length_interval=2",
    "objective.mixing_probability=0.5",
    "training.batch_size=8", "training.total_kimg=0.16", "training.ema_half_life_kimg=0.05",
    "training.device=cpu", "training.precision=float32", "training.num_samples=4",
    "training.tick_kimg=0.04", "training.sample_kimg=100", "training.checkpoint_kimg=100",
)  # fmt: skip


class RandomImages:
    """Images uint8 [3,R,R] that are a function of the index; an `ImageDataset` without files."""

    def __init__(self, resolution: int, num_images: int = 37) -> None:
        self.resolution, self.num_images = resolution, num_images

    def __len__(self) -> int:
        return self.num_images

    def __getitem__(self, index: int) -> np.ndarray:
        shape = (3, self.resolution, self.resolution)
        return np.random.default_rng(index).integers(0, 256, shape, dtype=np.uint8)

    def describe(self) -> str:
        return f"random: {self.num_images} images"


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tensors here are tiny: threads would only slow them down, and bit-identity is per thread count."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets: $SARIGAN_TEST_DATA, or shared/data beside the checkout; skips without it."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SARIGAN_TEST_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is not a folder (set SARIGAN_TEST_DATA)")
    return folder


@pytest.fixture(scope="session")
def project_root() -> Path:
    """The checkout; skips where the tests run without one."""
    root = Path(__file__).resolve().parents[1]
    if not (root / "pyproject.toml").is_file():
        pytest.skip("not a checkout")
    return root


@pytest.fixture(scope="session")
def tiny_config() -> Callable[..., Config]:
    """tiny_config("section.key=value", ...): an 8 px SariGAN that trains 20 steps of 8 images."""

    def build(*overrides: str) -> Config:
        return load_config(None, [*TINY, *overrides])

    return build


@pytest.fixture(scope="session")
def tiny_state() -> Callable[[Config], TrainingState]:
    """tiny_state(config): its networks and optimisers, with losses that depend on noise and on every code.

    Noise strengths start at 0, which would hide how noise is dealt out; they are given values here.
    """

    def build(config: Config) -> TrainingState:
        state = TrainingState(config, resolve_precision(config.training))
        with torch.no_grad():
            for network in (state.system.generator, state.system.average.module):
                for index, (_, parameter) in enumerate(
                    item for item in network.named_parameters() if item[0].endswith("noise.strength")
                ):
                    parameter.fill_(0.1 * (index + 1))
        return state

    return build


@pytest.fixture(scope="session")
def tiny_trainer(tiny_state: Callable[[Config], TrainingState]) -> Callable[..., Trainer]:
    """tiny_trainer(config, hooks): a trainer on random images, from the first step."""

    def build(config: Config, hooks: Sequence[Hook] = (), state: TrainingState | None = None) -> Trainer:
        dataset = RandomImages(config.generator.resolution)
        return Trainer(tiny_state(config) if state is None else state, dataset, hooks)

    return build


@pytest.fixture(scope="session")
def png_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 24 random 16x16 PNG files."""
    folder = tmp_path_factory.mktemp("images")
    images = RandomImages(16, 24)
    for index in range(len(images)):
        Image.fromarray(images[index].transpose(1, 2, 0)).save(folder / f"{index:03d}.png")
    return folder
