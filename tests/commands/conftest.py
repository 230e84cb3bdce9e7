"""Commands called in this process."""

import importlib
import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

CallCommand = Callable[..., "Outcome"]
Run = Callable[..., str]


class Outcome(NamedTuple):
    """What a command left: its exit code, what it printed, and its lines on stderr."""

    code: int
    output: str
    errors: list[str]


@pytest.fixture
def call_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CallCommand:
    """call_command(name, arguments...) -> Outcome of sarigan.commands.<name>."""

    def call(name: str, *arguments: object) -> Outcome:
        main = importlib.import_module(f"sarigan.commands.{name}").main
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err.splitlines())

    return call


@pytest.fixture
def run(call_command: CallCommand) -> Run:
    """run(name, arguments...): what it printed; with `fails=True` its one line of an error, with exit code 2."""

    def call(name: str, *arguments: object, fails: bool = False) -> str:
        code, output, errors = call_command(name, *arguments)
        if not fails:
            assert code == 0, errors
            return output
        assert code == 2 and len(errors) == 1 and errors[0].startswith("error: "), errors
        return errors[0]

    return call
