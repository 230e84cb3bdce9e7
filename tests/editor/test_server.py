"""Where the page is served, what is refused before it starts, and many people at once."""

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from process_tools import DEADLINE, MINUTE

from sarigan.commands import editor
from sarigan.editor.model import EditedModel
from sarigan.editor.server import PASSWORD_VARIABLE, Address, served
from sarigan.editor.session import Session
from sarigan.editor.sessions import Sessions
from sarigan.errors import InputError

SECONDS = 3  # of many people at once


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.mark.parametrize(("host", "is_loopback"), [
    ("127.0.0.1", True), ("127.8.9.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("192.168.1.2", False),
    ("example.org", False), ("::", False),
])  # fmt: skip
def test_other_addresses_need_a_password(host: str, is_loopback: bool) -> None:
    Address(host, password="long enough")
    if is_loopback:
        assert Address(host).is_loopback
        return
    for password in (None, "", "short"):
        with pytest.raises(InputError, match=f"--host {host} can be reached by others: .* {PASSWORD_VARIABLE}"):
            Address(host, password=password)


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"127.0.0.1:{port} cannot be used .* another port: --port {port + 1}"):
            Address(port=port).check_free()
    with pytest.raises(InputError, match="--port must be 1 to 65535, got 0"):
        Address(port=0)


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    monkeypatch.setattr(sys, "argv", ["sarigan edit", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        editor.main()
    printed = capsys.readouterr()
    assert end.value.code == 2 and printed.out == "" and len(printed.err.splitlines()) == 1
    return printed.err


def test_what_is_wrong_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, exported: Callable[..., Path]
) -> None:
    monkeypatch.setattr("sarigan.commands.editor.require_gradio", lambda: None)
    port = free_port()
    assert "does not exist" in run(monkeypatch, capsys, tmp_path / "none", "--port", port)
    assert "port must be" in run(monkeypatch, capsys, exported(), "--port", "70000")
    assert "can be reached by others" in run(monkeypatch, capsys, exported(), "--host", "0.0.0.0", "--port", port)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "--port" in run(monkeypatch, capsys, exported(), "--port", taken.getsockname()[1])


def test_without_gradio_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], exported: Callable[..., Path]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert '"sarigan[editor]"' in run(monkeypatch, capsys, exported(), "--port", free_port())


def test_the_session_that_rested_longest_goes_first(session: Session) -> None:
    sessions = Sessions(session.model, max_sessions=2)
    first, second = sessions.of("a"), sessions.of("b")
    assert sessions.of("a") is first and first is not second
    sessions.of("c")
    assert sessions.of("a") is first and sessions.of("b") is not second and len(sessions) == 2
    sessions.end("a")
    assert sessions.of("a") is not first


@pytest.mark.parametrize("endings", [[signal.SIGTERM], [signal.SIGINT] * 3 + [signal.SIGTERM]])
def test_uploads_do_not_outlive_a_server(endings: list[int], exported: Callable[..., Path], tmp_path: Path) -> None:
    pytest.importorskip("gradio", reason='the editor needs Gradio: pip install -e ".[editor]"')
    command = [sys.executable, "-m", "sarigan", "edit", str(exported()), "--port", str(free_port()), "--device", "cpu"]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
        watch = threading.Timer(DEADLINE, server.kill)  # ends the lines below, should none come
        watch.start()
        try:
            assert server.stdout is not None and any("open http" in line for line in server.stdout)
            assert list(tmp_path.glob("sarigan-editor-*"))
            for number in endings:
                server.send_signal(number)
            assert server.wait(DEADLINE) == 0
        finally:
            watch.cancel()
            server.kill()
    assert not list(tmp_path.glob("sarigan-editor-*"))


@pytest.fixture(scope="module")
def url(exported: Callable[..., Path]) -> Iterator[str]:
    pytest.importorskip("gradio", reason='the editor needs Gradio: pip install -e ".[editor]"')
    with served(EditedModel(str(exported())), Address(port=free_port())) as url:
        yield url


def test_a_password_is_asked_for(exported: Callable[..., Path]) -> None:
    pytest.importorskip("gradio", reason='the editor needs Gradio: pip install -e ".[editor]"')
    with served(EditedModel(str(exported())), Address(port=free_port(), password="long enough")) as url:
        for place in ("config", "gradio_api/info"):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"{url}{place}", timeout=MINUTE)
            assert refused.value.code == 401
        with pytest.raises(urllib.error.HTTPError) as refused:
            call(url, "somebody", "scale_strength", ["16x16.up", None, 3.0])
        assert refused.value.code == 401


def call(url: str, name: str, endpoint: str, data: list[Any]) -> list[Any]:
    """One event of the page as the browser sends it: into the queue, then the lines of its answer."""
    body = json.dumps({"data": data, "session_hash": name}).encode()
    request = urllib.request.Request(f"{url}gradio_api/call/{endpoint}", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
        event = json.load(answer)["event_id"]
    with urllib.request.urlopen(f"{url}gradio_api/call/{endpoint}/{event}", timeout=DEADLINE) as answer:
        lines = answer.read().decode().splitlines()
    assert "event: complete" in lines, lines[-4:]
    found: list[Any] = json.loads(lines[lines.index("event: complete") + 1].removeprefix("data: "))
    return found


def test_many_people_at_once(url: str, exported: Callable[..., Path]) -> None:
    """Ten people with seeds of their own: everybody sees the pictures of the own seed and edits, and nothing fails.

    The group is the one that the page last chose: the server keeps it.
    """
    from sarigan.editor.markup import pictures_markup

    right: dict[tuple[int, float], str] = {}
    model = EditedModel(str(exported()))
    for seed in range(10):
        own = Session(model)
        own.set_seed(seed)
        for amount in (0.0, 2.0, 4.0):
            own.scale_strength("16x16.up", 0, amount)
            right[seed, amount] = pictures_markup(own.pictures())
    wrong: list[str] = []
    counts = [0] * 10
    end = time.monotonic() + SECONDS

    def person(seed: int) -> None:
        try:
            call(url, f"person{seed}", "set_seed", [seed])
            while time.monotonic() < end or not counts[seed]:
                for amount in (0.0, 2.0, 4.0):
                    shown = call(url, f"person{seed}", "scale_strength", ["16x16.up", None, amount])[0]
                    if shown != right[seed, amount]:
                        wrong.append(f"seed {seed}, amount {amount}")
                    counts[seed] += 1
        except Exception as error:
            wrong.append(repr(error))

    people = [threading.Thread(target=person, args=(seed,)) for seed in range(10)]
    for one in people:
        one.start()
    for one in people:
        one.join()
    assert wrong == [] and min(counts) > 0


@pytest.mark.parametrize("path", ["/etc/hostname", "../../../../etc/hostname", __file__])
def test_an_upload_is_no_file_of_the_machine(url: str, path: str) -> None:
    """A request that names a file in place of an upload."""
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    with pytest.raises((AssertionError, urllib.error.HTTPError)):
        call(url, "somebody", "load_edits", [None, 0, 0, "zh", file])


def test_a_crash_of_one_request_leaves_the_others(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Session, *_: Any) -> None:
        raise RuntimeError("a defect")

    with monkeypatch.context() as patch:
        patch.setattr(Session, "_put", broken)
        answer = call(url, "unlucky", "scale_strength", ["16x16.up", None, 3.0])
    assert "failed inside the editor" in answer[2] and "a defect" not in answer[2]
    assert "strength h" in call(url, "unlucky", "scale_strength", ["16x16.up", None, 3.0])[1]
