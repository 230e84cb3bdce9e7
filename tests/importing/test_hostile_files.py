"""Files that want to run something, to take memory, or that are damaged: nothing is run, and one line tells what it was.

SARIGAN_FUZZ_EXAMPLES=N makes N examples, and other ones each time.
"""

import io
import os
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_networks import random_checkpoint
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from network_pickles import SOURCE_TEXT, network, network_pickle

from sarigan import load_generator
from sarigan.errors import InputError, exit_on_input_error
from sarigan.exporting.foreign_export import nvidia_state
from sarigan.importing.foreign_file import read_foreign
from sarigan.importing.pickle_reader import MAX_INSTRUCTIONS, BoundedStream, Budget, PickleReader
from sarigan.layers.grouping import GroupingConfig
from sarigan.models.generator import Generator, GeneratorConfig

EXAMPLES = int(os.environ.get("SARIGAN_FUZZ_EXAMPLES", 0))


class Call:
    """Pickles to a call of any function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call

    def __call__(self) -> None:
        """Pickle wants what is called to be callable."""


def refused(path: Path, part: str = "") -> str:
    """The line with which the file is refused, by both doors, the same way."""
    lines = []
    for door in (read_foreign, load_generator):
        with pytest.raises(InputError) as caught:
            door(path)
        lines.append(str(caught.value))
    assert all(line.startswith(str(path)) and "\n" not in line and part in line for line in lines), lines
    return lines[0]


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """A file that hostile pickles would make; it must never be there."""
    path = tmp_path / "marker"
    yield path
    assert not path.exists()


HOSTILE = {
    "system": (lambda m: Call(os.system, f"touch {m}"), ".system"),
    "eval": (lambda m: Call(eval, f"open({str(m)!r}, 'w')"), ".eval"),
    "exec": (lambda m: Call(exec, f"open({str(m)!r}, 'w')"), ".exec"),
    "getattr chain": (lambda m: Call(Call(getattr, os.system, "__call__"), f"touch {m}"), ".getattr"),
    "open": (lambda m: Call(open, str(m), "w"), "io.open"),
    "torch.load": (lambda m: Call(torch.load, str(m)), "torch.serialization.load"),
    "a whole module": (lambda m: torch.nn.Linear(2, 2), "a whole PyTorch module"),
    "NumPy": (lambda m: __import__("numpy").zeros(3), "NumPy arrays in a pickle"),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize(("container", "protocol"), [("pickle", 0), ("pickle", 2), ("pickle", 4), ("zip", 2), ("legacy", 2)])
def test_nothing_is_run(name: str, container: str, protocol: int, marker: Path, tmp_path: Path) -> None:
    make, told = HOSTILE[name]
    content = {"g_ema": make(marker), "G_ema": make(marker)}
    path = tmp_path / "hostile.pt"
    if container == "pickle":
        path.write_bytes(pickle.dumps(content, protocol=protocol))
    else:
        torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=container == "zip")
    line = refused(path)
    # Protocol 0 rebuilds objects by a function of its own, which is refused, too.
    assert told in line or (protocol == 0 and "its pickle wants to use copy_reg._reconstructor" in line)


def test_embedded_source_text_is_a_text(tmp_path: Path) -> None:
    """The text of these pickles raises when it is run; the networks are read."""
    config = GeneratorConfig(8, z_dim=4, style_dim=4, mapping_layers=1, channel_base=16, channel_max=4,
                             grouping=GroupingConfig(kind="none"))  # fmt: skip
    data = tiny_pickle(config)
    assert SOURCE_TEXT.encode() in data
    path = tmp_path / "a.pkl"
    path.write_bytes(data)
    assert read_foreign(path).generator_config.resolution == 8


def tiny_pickle(config: GeneratorConfig | None = None) -> bytes:
    config = config or GeneratorConfig(8, z_dim=4, style_dim=4, mapping_layers=1, channel_base=16, channel_max=4,
                                       grouping=GroupingConfig(kind="none"))  # fmt: skip
    torch.manual_seed(0)
    generator = Generator(config)
    state, _ = nvidia_state(generator, generator, None, None)
    return network_pickle({"G_ema": network(state["G_ema"], {}, "Generator")})


def tiny_archive() -> bytes:
    file = io.BytesIO()
    torch.save({"g_ema": random_checkpoint([4, 4], 4, 1, dtype=torch.float32)["g_ema"]}, file)
    return file.getvalue()


def tiny_legacy() -> bytes:
    file = io.BytesIO()
    content = {"g_ema": random_checkpoint([4, 4], 4, 1, dtype=torch.float32)["g_ema"]}
    torch.save(content, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


WHOLE = {"pickle": tiny_pickle(), "zip": tiny_archive(), "legacy": tiny_legacy()}


def nested_storage(claimed: int, numel: int) -> bytes:
    """A file of PyTorch's older format with one storage, which claims so many numbers and holds eight bytes."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, item: Any) -> Any:
            return ("storage", torch.FloatStorage, "0", "cpu", claimed, None) if item is NotImplemented else None

    file = io.BytesIO()
    for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
        pickle.dump(value, file, protocol=2)
    Pickler(file, protocol=2).dump(NotImplemented)
    pickle.dump(["0"], file, protocol=2)
    return file.getvalue() + struct.pack("<q", numel) + bytes(8)


GREEDY = {
    "a nested storage of 2^40 numbers": (
        pickle.dumps(Call(torch.storage._load_from_bytes, nested_storage(2**40, 2**40)), protocol=4),
        "it ends where 4,398,046,511,104 more bytes should follow",
    ),
    "a nested storage of unlike sizes": (
        pickle.dumps(Call(torch.storage._load_from_bytes, nested_storage(2, 2**40)), protocol=4), "numbers, 2 are named"
    ),
    "a tensor larger than its storage": (
        pickle.dumps(
            Call(torch._utils._rebuild_tensor_v2, Call(torch.storage._load_from_bytes, nested_storage(2, 2)), 0, (2**20, 2**20),
                 (0, 0), False, {}), protocol=4,
        ), "a tensor of 1,099,511,627,776 numbers in a storage of 2",
    ),
    "2^60 bytes": (b"\x80\x04\x8e" + struct.pack("<Q", 2**60), "more bytes should follow"),
    "a text of 2^60 letters": (b"\x80\x04\x8d" + struct.pack("<Q", 2**60), "more bytes should follow"),
    "a number of 2^31 bytes": (b"\x80\x04\x8b" + struct.pack("<i", 2**31 - 1), "more bytes should follow"),
    "a bytearray": (b"\x80\x05\x96" + struct.pack("<Q", 2**60), "more bytes should follow"),
    "a memo of 2^32 places": (b"\x80\x04Nr\xff\xff\xff\xff.", "no model that is known"),
    "a tuple of a tuple of a tuple": (b"\x80\x04)" + b"2\x86" * 400 + b"}.", "no model that is known"),
    "keys that take for ever to hash": (b"\x80\x04})" + b"2\x86" * 400 + b"Ns.", "a dictionary key of type tuple"),
}  # fmt: skip


@pytest.mark.parametrize("name", GREEDY)
def test_memory_is_bounded(name: str, tmp_path: Path) -> None:
    path = tmp_path / "greedy.pkl"
    data, part = GREEDY[name]
    path.write_bytes(data)
    tracemalloc.start()
    refused(path, part)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20


def test_instructions_are_counted_over_all_pickles_of_a_file() -> None:
    budget = Budget(1000)
    reader = PickleReader({"builtins.set": set}, budget=budget)
    reader.read(BoundedStream(io.BytesIO(b"\x80\x04" + b"]" * 600 + b".")))
    with pytest.raises(ValueError, match=f"more than {MAX_INSTRUCTIONS:,} instructions"):
        reader.read(BoundedStream(io.BytesIO(b"\x80\x04" + b"]" * 600 + b".")))
    items = b"(" + b"N" * 300 + b"e"  # a set of a list costs the length of the list
    budget.left = 1000
    call = b"cbuiltins\nset\nh\x00\x85R"
    with pytest.raises(ValueError, match="instructions in its pickles"):
        reader.read(BoundedStream(io.BytesIO(b"\x80\x04]q\x00" + items + call * 3 + b".")))


def text(value: str) -> bytes:
    """The instruction that pushes a short text."""
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def module(state: bytes) -> bytes:
    """The instructions that push a module of NVIDIA's, whose state other instructions push."""
    meta = text("type") + text("class") + text("class_name") + text("Generator") + text("state") + state
    return b"ctorch_utils.persistence\n_reconstruct_persistent_obj\n}(" + meta + b"u\x85R"


@pytest.mark.parametrize("num_children", [1, 2], ids=["endless", "two to the power of any number"])
def test_a_network_inside_itself_has_an_end(num_children: int, tmp_path: Path) -> None:
    """Its state is remembered as 1, and is the state of its children, too."""
    children = b"".join(text(f"a{index}") + module(b"h\x01") for index in range(num_children))
    state = b"}q\x01(" + text("_parameters") + b"}" + text("_buffers") + b"}" + text("_modules") + b"}(" + children + b"uu"
    path = tmp_path / "loop.pkl"
    path.write_bytes(b"\x80\x02}" + text("G_ema") + module(state) + b"s.")
    refused(path, "is no module, or lies too deep")


@pytest.mark.parametrize("kind", WHOLE)
def test_half_a_download(kind: str, tmp_path: Path) -> None:
    """Cut at every 1,000th byte: never taken for a model."""
    path = tmp_path / "cut.pt"
    for length in range(0, len(WHOLE[kind]), 1000):
        path.write_bytes(WHOLE[kind][:length])
        refused(path, "not a readable" if kind == "zip" or not length else "not a readable model")


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    content = bytearray(draw(st.sampled_from([*WHOLE.values()])))
    for _ in range(draw(st.integers(1, 4))):
        at, length = draw(st.integers(0, len(content))), draw(st.integers(1, 64))
        match draw(st.integers(0, 4)):
            case 0:
                content[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case 1:
                del content[at : at + length]
            case 2:
                content[at:at] = content[at : at + length]
            case 3:
                content[at : at + 8] = struct.pack("<Q", draw(st.sampled_from([0, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1])))
            case 4:
                content[at:at] = draw(st.sampled_from([b"cos\nsystem\n", b"(R", b"R", b"\x81", b"b", b"Q", b"2\x86", b"0"]))
    return bytes(content)


@settings(max_examples=EXAMPLES or 150, derandomize=not EXAMPLES, suppress_health_check=[*HealthCheck])
@given(data=st.one_of(damaged(), st.binary(max_size=60), st.binary(max_size=60).map(lambda b: b"\x80\x04" + b)))
def test_mutated_files(data: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model, or one printable line with the file's name and exit code 2."""
    path = tmp_path / "mutated.pt"
    path.write_bytes(data)
    capsys.readouterr()
    try:
        with exit_on_input_error():
            model = read_foreign(path)
            model.checkpoint_state(model.config(str(path)), str(path))
    except SystemExit as error:
        printed = capsys.readouterr().err
        assert error.code == 2 and printed.startswith(f"error: {path}: ") and printed[:-1].isprintable() and len(printed) < 5000


def test_an_archive_that_is_a_bomb_or_a_program(tmp_path: Path) -> None:
    whole = zipfile.ZipFile(io.BytesIO(WHOLE["zip"]))
    for name, compression, added, part in (
        ("bomb.pt", zipfile.ZIP_DEFLATED, {}, "is compressed, perhaps a decompression bomb"),
        ("script.pt", zipfile.ZIP_STORED, {"archive/constants.pkl": b"\x80\x02)."}, "a TorchScript program"),
    ):
        with zipfile.ZipFile(tmp_path / name, "w", compression) as archive:
            for info in whole.infolist():
                archive.writestr(info.filename, whole.read(info))
            for extra, content in added.items():
                archive.writestr(extra, content)
        with pytest.raises(InputError, match=part):
            read_foreign(tmp_path / name)
