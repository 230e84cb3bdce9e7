"""Finding, building and declining the native part: every way it can fail costs one line, never the run."""

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
import torch
from process_tools import DEADLINE, running

from ops import _cache, _extension, bias_act, build
from sarigan.errors import InputError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="native operators are for Linux")

# A compiler that notes its calls and does as told: fail with a message, or write something into the file after -o.
COMPILER = """\
#!{python}
import sys, time
open({log!r}, "a").write(" ".join(sys.argv[1:]) + "\\n")
time.sleep({seconds})
if {message!r}:
    print("In file included from somewhere:\\n" + {message!r} + "\\nmore: error: a second one", file=sys.stderr)
    sys.exit(1)
open(sys.argv[sys.argv.index("-o") + 1], "w").write("not a library")
"""


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache and a selection that has not been made; returns the cache."""
    monkeypatch.setenv("SARIGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SARIGAN_OPS", raising=False)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr(_extension, "_mode", None)
    for name in ("_decisions", "_failures", "_libraries"):
        monkeypatch.setattr(_extension, name, {})
    _cache._report_damage.cache_clear()
    return tmp_path / "cache" / "ops"


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """compiler(message, seconds): put a false C++ compiler in place; returns a function that counts its calls."""

    def install(message: str = "", seconds: float = 0.0):
        log, script = tmp_path / "calls", tmp_path / "c++"
        script.write_text(COMPILER.format(python=sys.executable, log=str(log), message=message, seconds=seconds))
        script.chmod(0o755)
        monkeypatch.setenv("CXX", str(script))
        return lambda: len(log.read_text().splitlines()) if log.exists() else 0

    return install


def call() -> torch.Tensor:
    return bias_act(torch.ones(1, 2), None, "linear", gain=3.0)


def test_without_a_build_the_cpu_uses_the_reference_silently(fresh, compiler, capfd) -> None:
    calls = compiler("error: never to be called")
    assert torch.equal(call(), torch.full((1, 2), 3.0))
    assert _extension.native_for(torch.zeros(1)) is None
    assert calls() == 0 and not fresh.exists() and capfd.readouterr().err == ""


def test_import_and_first_use_touch_no_compiler(tmp_path) -> None:
    program = """
        import sys, torch, ops
        assert "ops.build" not in sys.modules and "ops._cache" not in sys.modules
        ops.bias_act(torch.ones(1, 2))
    """
    environment = {"PATH": "", "HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "ops:" not in done.stderr


def test_unknown_mode_is_an_input_error(fresh, monkeypatch) -> None:
    monkeypatch.setenv("SARIGAN_OPS", "fast")
    with pytest.raises(InputError, match="SARIGAN_OPS must be one of auto, native, reference, got 'fast'"):
        call()


def test_reference_never_looks(fresh, compiler, monkeypatch) -> None:
    monkeypatch.setenv("SARIGAN_OPS", "reference")
    monkeypatch.setattr(_extension, "_decide", lambda *_: pytest.fail("looked for a native build"))
    call()


def test_native_fails_loudly_and_is_not_tried_again(fresh, compiler, monkeypatch) -> None:
    monkeypatch.setenv("SARIGAN_OPS", "native")
    calls = compiler("core.h:7:1: error: the first thing wrong")
    with pytest.raises(RuntimeError, match="SARIGAN_OPS=native: c.. failed: core.h:7:1: error: the first thing wrong; give"):
        call()
    tried = calls()
    with pytest.raises(RuntimeError, match="the first thing wrong"):
        call()
    assert tried > 0 and calls() == tried


def test_failed_build_for_a_gpu_is_told_once_and_the_reference_serves(fresh, monkeypatch, tmp_path, capfd) -> None:
    log = tmp_path / "calls"
    nvcc = tmp_path / "cuda" / "bin" / "nvcc"
    nvcc.parent.mkdir(parents=True)
    major = (torch.version.cuda or "13.0").split(".")[0]
    nvcc.write_text(f'#!/bin/sh\necho "$@" >> {log}\n[ "$1" = --version ] && echo "release {major}.0" && exit\n'
                    'echo "nvcc fatal   : Unsupported gpu architecture" >&2; exit 1\n')  # fmt: skip
    nvcc.chmod(0o755)
    monkeypatch.setenv("CUDA_HOME", str(nvcc.parents[1]))
    monkeypatch.setattr(torch.version, "cuda", torch.version.cuda or "13.0")
    monkeypatch.setattr(build, "local_arches", lambda: ("9.0",))
    monkeypatch.setattr(build, "_host_compiler", lambda: ["/bin/true"])
    assert _extension._decide("auto", "cuda") is None
    said, tried = capfd.readouterr().err, log.read_text()
    assert re.search("nvcc failed: nvcc fatal +: Unsupported gpu architecture; .*reference is used", said)
    assert said.count("\n") == 2 and "compiling the operators for the GPU (sm_90), once, usually" in said
    assert isinstance(_extension._decide("native", "cuda"), RuntimeError) and log.read_text() == tried


def test_nvcc_of_another_cuda_is_declined(monkeypatch, tmp_path) -> None:
    nvcc = tmp_path / "bin" / "nvcc"
    nvcc.parent.mkdir()
    nvcc.write_text('#!/bin/sh\necho "Cuda compilation tools, release 10.2, V10.2.89"\n')
    nvcc.chmod(0o755)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    monkeypatch.setattr(torch.version, "cuda", "13.2")
    with pytest.raises(build.BuildError, match="is of CUDA 10.2, torch needs CUDA 13.2; set CUDA_HOME"):
        build._nvcc()


def test_no_compiler_at_all(fresh, monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(build.BuildError, match="no C.. compiler found; install g.. or set CXX"):
        build.build("cpu")
    monkeypatch.setenv("CXX", "/nowhere/g++")
    with pytest.raises(build.BuildError, match="cannot run /nowhere/g..: No such file or directory"):
        build.build("cpu")


def test_cache_that_cannot_be_written(fresh, compiler, monkeypatch, tmp_path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SARIGAN_CACHE", str(tmp_path / "file" / "cache"))
    calls = compiler()
    with pytest.raises(build.BuildError, match="cannot write the cache: .*set SARIGAN_CACHE to a writable directory"):
        build.build("cpu")
    assert calls() == 0
    assert torch.equal(call(), torch.full((1, 2), 3.0))


def test_damaged_library_is_ignored_then_built_anew(fresh, compiler, capfd) -> None:
    calls = compiler()
    library = build.build("cpu")
    tried = calls()
    assert build.build("cpu") == library and calls() == tried
    library.write_text("cut sh")
    assert _cache.find("cpu") is None and "is damaged and is ignored" in capfd.readouterr().err
    assert build.build("cpu") == library and calls() == 2 * tried and _cache.find("cpu") == library
    (library.parent / _cache.MANIFEST).write_text("{}")
    assert _cache.find("cpu") is None


def test_library_that_cannot_be_loaded(fresh, compiler, monkeypatch, capfd) -> None:
    """What the false compiler writes has the right digest and is no library."""
    compiler()
    build.build("cpu")
    capfd.readouterr()
    assert torch.equal(call(), torch.full((1, 2), 3.0))
    call()
    said = capfd.readouterr().err
    assert said.count("\n") == 1 and re.search("cannot load the operators .*ops.build --force.*reference is used", said)


def test_unloadable_library_is_built_anew_where_that_is_allowed(fresh, compiler, monkeypatch) -> None:
    calls = compiler()
    build.build("cpu")
    tried = calls()
    monkeypatch.setenv("SARIGAN_OPS", "native")
    with pytest.raises(RuntimeError, match="cannot load the operators just compiled"):
        call()
    assert calls() == 2 * tried


def test_an_installed_build_is_found(fresh, compiler, monkeypatch, tmp_path) -> None:
    compiler()
    monkeypatch.setattr(_cache, "PREBUILT", tmp_path / "prebuilt")
    library = build.build_into(tmp_path / "prebuilt", "cpu")
    assert _cache.find("cpu") == library
    assert build.build("cpu", force=True) == _cache.find("cpu") != library


def test_a_build_serves_later_gpus_of_its_generation(fresh) -> None:
    directory = fresh / _cache.name_of("cuda", ("8.0", "9.0"))
    directory.mkdir(parents=True)
    (directory / _cache.LIBRARY).touch()
    digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # of nothing
    (directory / _cache.MANIFEST).write_text(json.dumps({"sha256": digest, "arches": ["8.0", "9.0"]}))
    for arches, found in {("8.0",): True, ("8.6", "9.0"): True, ("7.5",): False, ("12.0",): False}.items():
        assert (_cache.find("cuda", arches) is not None) is found


def test_name_depends_on_what_a_build_depends_on(monkeypatch, tmp_path) -> None:
    names = {_cache.name_of("cpu"), _cache.name_of("cuda", ("9.0",))}
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "9.9.9")
        names.add(_cache.name_of("cpu"))
    with monkeypatch.context() as patch:
        patch.setattr(torch.version, "cuda", "99.9")
        names.add(_cache.name_of("cpu"))
    (tmp_path / "core.h").write_text("other sources")
    monkeypatch.setattr(_cache, "SOURCES", tmp_path)
    names.add(_cache.name_of("cpu"))
    assert len(names) == 5


HOLD = "from ops import _cache; import time\nwith _cache.building('held'): print('held', flush=True); time.sleep(3600)"


def test_a_killed_process_leaves_no_lock(fresh) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with running([sys.executable, "-c", HOLD], env=environment, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        entered = threading.Event()

        def enter() -> None:
            with _cache.building("held"):
                entered.set()

        waiting = threading.Thread(target=enter, daemon=True)
        waiting.start()
        assert not entered.wait(0.5)  # the lock is held
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        assert entered.wait(DEADLINE)
        waiting.join()


def test_of_two_processes_one_compiles(fresh, compiler) -> None:
    calls = compiler(seconds=0.3)
    command = [sys.executable, "-c", "from ops.build import build; print(build('cpu'))"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MAX_JOBS": "2"}
    both = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = {process.communicate()[0] for process in both}
    assert all(process.returncode == 0 for process in both) and len(answers) == 1
    assert calls() == len(build._commands("cpu", (), Path())[0]) + 1
    assert [path.name for path in fresh.iterdir() if not path.name.endswith(".lock")] == [_cache.name_of("cpu")]


def test_only_the_first_local_process_speaks(fresh, monkeypatch, capfd) -> None:
    monkeypatch.setenv("LOCAL_RANK", "3")
    _cache.say("something")
    assert capfd.readouterr().err == ""


def test_command_line(fresh, compiler, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        build.main(["--arch", "9"])
    assert stopped.value.code == 2 and "'9' is no compute capability" in capsys.readouterr().err
    assert build.parse_arches("9.0, 8.0;8.0 12.0") == ("8.0", "9.0", "12.0")
    compiler("x.cpp:1:1: error: no luck")
    with pytest.raises(SystemExit, match="error: c.. failed: x.cpp:1:1: error: no luck"):
        build.main([])


def test_baseline_instructions_give_the_same(library, tmp_path) -> None:
    """The kernels for processors without AVX2, in a process held to them as torch's own kernels are."""
    program = """
        import sys, torch
        from ops import bias_act, upfirdn2d
        torch.manual_seed(0)
        found = []
        for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
            x = torch.randn(2, 5, 9, 21, dtype=torch.float64).to(dtype)
            for layout in (torch.contiguous_format, torch.channels_last):
                z = x.contiguous(memory_format=layout).requires_grad_()
                y = bias_act(z, torch.arange(5.0).to(dtype), clamp=3.0)
                y = upfirdn2d(y, torch.tensor([0.25, 0.75, 0.75, 0.25]), up=2, padding=2)
                found += [y.detach(), torch.autograd.grad(y.float().square().sum(), z)[0]]
        torch.save(found, sys.argv[1])
    """
    library("cpu")
    results = []
    for capability in ("default", "avx2"):
        environment = {**os.environ, "SARIGAN_OPS": "native", "PYTHONPATH": os.pathsep.join(sys.path)}
        environment["ATEN_CPU_CAPABILITY"] = capability
        target = tmp_path / f"{capability}.pt"
        command = [sys.executable, "-c", textwrap.dedent(program), str(target)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        results.append(torch.load(target))
    for baseline, usual in zip(*results, strict=True):
        # One has fused multiply-add.
        eps = torch.finfo(usual.dtype).eps
        torch.testing.assert_close(baseline, usual, rtol=4 * eps, atol=4 * eps * usual.abs().max().item())


def test_a_waiting_process_says_so(fresh, monkeypatch, capfd) -> None:
    clock = iter(float(second) for second in range(1000))
    monkeypatch.setattr(_cache.time, "monotonic", lambda: next(clock))
    release = threading.Event()

    def hold() -> None:
        with _cache.building("held"):
            release.wait(DEADLINE)

    holder = threading.Thread(target=hold)
    holder.start()
    while not (fresh / ".held.lock").exists() or not (fresh / ".held.lock").read_text():
        time.sleep(0.01)
    threading.Timer(0.5, release.set).start()
    with _cache.building("held"):
        pass
    holder.join()
    said = capfd.readouterr().err
    assert re.search(rf"waiting for process {os.getpid()} on .* to finish compiling", said)
