"""Derived seeds, and the one exception a script turns into a line."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from process_tools import run_ranks

from sarigan.analysis.avatar_training import AvatarTrainingConfig
from sarigan.editing.seeds import parse_seeds
from sarigan.errors import InputError, exit_on_input_error
from sarigan.layers.grouping import GroupingConfig
from sarigan.metrics.config import EvaluationConfig
from sarigan.seeding import MAX_SEED, derive_seed


def test_seeds_are_functions_of_their_key() -> None:
    assert derive_seed(0, "generator", 7) == derive_seed(0, "generator", 7)
    keys = [(seed, phase, step) for seed in range(3) for phase in ("discriminator", "generator") for step in range(500)]
    seeds = [derive_seed(*key) for key in keys]
    assert len(set(seeds)) == len(keys)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive_seed(1, 23) != derive_seed(12, 3) and derive_seed("1") != derive_seed(1)


def test_seeds_do_not_depend_on_the_process() -> None:
    """Unlike hash(), which is salted anew in every process: a resumed run needs the same ones."""
    assert derive_seed(0, "weights") == 2934036865011653446


def test_seeds_look_uniform() -> None:
    seeds = [derive_seed(0, "x", step) for step in range(4000)]
    for bit in (0, 1, 31, 32, 61, 62):
        assert 0.45 < sum(seed >> bit & 1 for seed in seeds) / 4000 < 0.55


def test_the_cpu_generator_keeps_32_bits_of_a_seed() -> None:
    """A fact of PyTorch that `derive_seed` states and `MAX_SEED` rests on; NumPy's and Python's generators use all bits."""

    def draws(seed: int) -> list[float]:
        return [
            torch.rand(1, generator=torch.Generator().manual_seed(seed)).item(),
            np.random.default_rng(seed).random(),
            random.Random(seed).random(),
        ]

    seed = derive_seed("a seed") % 2**32
    low, high, next_low = draws(seed), draws(seed + 2**32), draws(seed + 1)
    assert [a == b for a, b in zip(low, high, strict=True)] == [True, False, False]
    assert [a == b for a, b in zip(low, next_low, strict=True)] == [False, False, False]
    assert MAX_SEED == 2**32 - 1


@pytest.mark.parametrize("seed", [2**32, 2**64, -1])
@pytest.mark.parametrize(
    ("take", "name"),
    [
        (lambda seed: GroupingConfig(random_seed=seed), r"generator\.grouping\.random_seed"),
        (lambda seed: EvaluationConfig(seed=seed), "seed"),
        (lambda seed: AvatarTrainingConfig(seed=seed), "seed"),
        (lambda seed: parse_seeds(str(seed)), "seeds"),
    ],
)
def test_seeds_that_would_mean_another_one_are_refused(take, name: str, seed: int) -> None:
    take(MAX_SEED)
    with pytest.raises(InputError, match=rf"^{name} (must be|are numbers and ranges).*0 to 4294967295.*{seed}'?$"):
        take(seed)


def test_an_input_error_becomes_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught, exit_on_input_error():
        raise InputError("a.yaml: batch_size must be at least 1, got 0")
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert captured.err == "error: a.yaml: batch_size must be at least 1, got 0\n" and captured.out == ""


def test_other_errors_keep_their_traceback() -> None:
    with pytest.raises(ZeroDivisionError), exit_on_input_error():
        raise ZeroDivisionError
    assert issubclass(InputError, ValueError)


@pytest.mark.parametrize(
    ("ending", "code", "errors"),
    [
        ("pass", 0, ""),
        ("raise InputError('a line')", 2, "error: a line\n"),
        ("sys.exit(7)", 7, ""),
        ("raise KeyError('a key')", 1, "KeyError: 'a key'\n"),
    ],
)
def test_a_process_of_a_group_ends_without_the_interpreters_end(ending: str, code: int, errors: str, tmp_path: Path) -> None:
    """There the threads of a process group may abort the process; here something always does."""
    program = (
        "import atexit, os, sys\n"
        "from sarigan import distributed\n"
        "from sarigan.errors import InputError\n"
        "atexit.register(os.abort)\n"
        "with distributed.rank_main():\n"
        "    with distributed.process_group():\n"
        "        print(distributed.gather_objects(distributed.rank()))\n"
        f"    {ending}\n"
    )
    for rank, done in enumerate(run_ranks(tmp_path, ["-c", program], ["-c", program])):
        line = errors.replace("error: ", "error: rank 1: ") if rank else errors
        assert (done.code, done.output) == (code, "[0, 1]\n") and done.errors.endswith(line), done.errors
        assert ("Traceback" in done.errors) == (code == 1)
