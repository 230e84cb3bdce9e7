"""Whatever a file holds, reading it gives a valid object or one line that names the file: no traceback, no hang.

SARIGAN_FUZZ_EXAMPLES=N makes N examples of every kind instead of some dozens, and other ones each time.
"""

import copy
import dataclasses
import hashlib
import io
import json
import os
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save

from sarigan.analysis.part_iou import load_masks
from sarigan.config import load_config
from sarigan.data.prepare.attribute_table import AttributeTable
from sarigan.editing.edit_file import edits_to_dict, load_edits, load_latents
from sarigan.editing.seeds import parse_seeds
from sarigan.errors import InputError, exit_on_input_error
from sarigan.exporting.safetensors_export import CONFIG_NAME, WEIGHTS_NAME, load_exported, save_exported
from sarigan.files.checkpoint import _seal, load_checkpoint, save_checkpoint
from sarigan.files.run_record import read_run
from sarigan.layers.intervention import Intervention
from sarigan.metrics.statistics_cache import StatisticsCache
from sarigan.models.feature_networks.avatar_networks import CLASSIFIER_FILE, load_avatar_classifier
from sarigan.models.generator import Generator
from sarigan.pretrained import load_generator, load_system
from sarigan.systems.style.system import StyleConfig
from sarigan.training.trainer import Trainer
from sarigan.visualization.editing import load_target

EXAMPLES = int(os.environ.get("SARIGAN_FUZZ_EXAMPLES", 0))
COUNTS: dict[str, list[int]] = {}  # kind -> accepted, refused


def fuzz(ci_examples: int) -> settings:
    # A folder is shared by the examples of a test, each of which writes the same file anew.
    return settings(max_examples=EXAMPLES or ci_examples, derandomize=not EXAMPLES, suppress_health_check=[*HealthCheck])


@pytest.fixture(scope="module", autouse=True)
def counts() -> Iterator[None]:
    yield
    if EXAMPLES:
        for kind, (accepted, refused) in COUNTS.items():
            print(f"{kind}: {accepted + refused} examples, {accepted} accepted, {refused} refused")


def outcome(kind: str, read: Callable[[], Any], capsys: pytest.CaptureFixture[str], name: str = "") -> Any:
    """What `read` returns; None after it was refused in one printable line that names the file."""
    capsys.readouterr()
    count = COUNTS.setdefault(kind, [0, 0])
    try:
        with exit_on_input_error():
            result = read()
    except SystemExit as error:
        count[1] += 1
        printed = capsys.readouterr().err
        assert error.code == 2 and printed.startswith("error: ") and printed.endswith("\n")
        assert printed[:-1].isprintable() and len(printed) < 5000, printed
        assert name in printed, printed
        return None
    count[0] += 1
    return result


# --- values -----------------------------------------------------------------------------------------------------------

ODD_NUMBERS = st.sampled_from([-1, 0, 2**31, 2**63, 2**64, 10**30, 10**400, 1e10, 1e308, -0.5, float("nan"), float("inf"), 0.1])
ODD_TEXTS = st.sampled_from(
    ["", "\x1b[31m", "a\nb", "a\0b", "\u202e", "x" * 5000, "${nope}", "${", "${oc.env:HOME}", "???", "0x_", "1" * 5000,
     "7:6:5", "2001-13-45", "!!bool x", "!!set {a}", "!!python/object:os.system x", "&a [*a]", "*b", "null", "~", "[" * 700,
     "{" * 700, "é"]
)  # fmt: skip
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), ODD_NUMBERS, ODD_TEXTS)
VALUES = st.recursive(
    LEAVES, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3))
)


def leaves_of(values: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to everything inside nested dictionaries and lists, the containers included."""
    items = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    return [path for key, value in items for path in ((*prefix, key), *leaves_of(value, (*prefix, key)))]


@st.composite
def altered(draw: st.DrawFn, values: Any, leaves: st.SearchStrategy[Any] = VALUES, most: int = 3) -> Any:
    """Nested values with some of them replaced or removed."""
    values = copy.deepcopy(values)
    for _ in range(draw(st.integers(1, most))):
        paths = leaves_of(values)
        if not paths:
            break
        *way, last = draw(st.sampled_from(paths))
        place = values
        for key in way:
            place = place[key]
        if draw(st.integers(0, 4)):
            place[last] = draw(leaves)
        else:
            del place[last]
    return values


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes with some of them changed, cut out, doubled or put in."""
    content = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at, length = draw(st.integers(0, max(len(content) - 1, 0))), draw(st.integers(1, 64))
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
                content = content[:at]
    return bytes(content)


# --- configurations ---------------------------------------------------------------------------------------------------

DEFAULTS = StyleConfig().to_dict()
FIELDS = [".".join(path) for path in leaves_of(DEFAULTS)]


def nine_aliases(number: int) -> bytes:
    return b", ".join([b"*a%d" % number] * 9)


YAML_TEXTS = st.one_of(
    altered(DEFAULTS).map(lambda values: yaml.safe_dump(values).encode("utf-8", "surrogatepass")),
    damaged(yaml.safe_dump(DEFAULTS).encode()),
    st.binary(max_size=60),
    st.text(alphabet="ab: -[]{}&*!|>'\"\n\t#%@`,?0.1e_<~$", max_size=60).map(str.encode),
    st.sampled_from([
        b"null: 1", b"training: {seed: !!bool x}", b"a: !!set {b}", b"base: 'a\\0b'", b'base: "a\\0b"', b"base: c.yaml",
        b"base: .", b"a: &a [b]\nb: &b [*a, *a]\nc: *b", b"data: {path: ${data.path}}", b"training: {seed: ${training.seed}}",
        b"a0: &a0 [x]\n" + b"".join(b"a%d: &a%d [%s]\n" % (i, i, nine_aliases(i - 1)) for i in range(1, 12)),
        b"a0: &a0 {k: 1}\n" + b"".join(b"a%d: &a%d {<<: [%s]}\n" % (i, i, nine_aliases(i - 1)) for i in range(1, 9)),
        b"a: &a {b: *a}", b"generator: &g {grouping: *g}", b"- 1", b"[" * 5000, b"a: " * 3000, b"{a: " * 600, b"? " * 2000,
        b"a: 1" * 100_000, b"training: {batch_size: " + b"1" * 5000 + b"}",
    ]),
)  # fmt: skip


def check_config(config: Any) -> None:
    if config is not None:
        assert isinstance(config, StyleConfig)
        assert load_config(None, [f"training.seed={config.training.seed}"]).training.seed == config.training.seed
        json.dumps(config.to_dict(), allow_nan=False)


@fuzz(100)
@given(text=YAML_TEXTS)
def test_configuration_files(text: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(text)
    check_config(outcome("configuration files", lambda: load_config(path), capsys))


@fuzz(80)
@given(
    overrides=st.lists(
        st.tuples(
            st.one_of(st.sampled_from([*FIELDS, "a" + ".a" * 2000, "data[", "data[0]", "=", ""]), st.text(max_size=6)),
            st.one_of(LEAVES, VALUES, st.text(max_size=12)).map(str),
        ),
        min_size=1, max_size=3,
    )
)  # fmt: skip
def test_overrides(overrides: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]) -> None:
    check_config(outcome("overrides", lambda: load_config(None, ["=".join(pair) for pair in overrides]), capsys))


@fuzz(40)
@given(text=YAML_TEXTS, log=st.one_of(st.binary(max_size=80), damaged(b'{"step": 1, "kimg": 0.5, "loss/x": 2}\n' * 3)))
def test_run_directories(text: bytes, log: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.yaml").write_bytes(text)
    (tmp_path / "log.jsonl").write_bytes(log)
    (tmp_path / "environment.json").write_bytes(log)
    record = outcome("run directories", lambda: read_run(tmp_path), capsys, str(tmp_path))
    assert record is None or all(isinstance(line["kimg"], int | float) for line in record.log)


# --- pictures and tables ----------------------------------------------------------------------------------------------


def picture(file_format: str, mode: str) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (9, 11, 4), dtype=np.uint8)
    Image.fromarray(pixels, "RGBA").convert(mode).save(file, file_format)
    return file.getvalue()


PICTURES = [
    picture(*kind) for kind in [
        ("PNG", "RGB"), ("PNG", "P"), ("PNG", "RGBA"), ("PNG", "1"), ("JPEG", "RGB"), ("JPEG", "CMYK"), ("WEBP", "RGB"),
        ("BMP", "RGB"), ("TIFF", "RGB"), ("GIF", "P"), ("PPM", "RGB"),
    ]
]  # fmt: skip


@fuzz(150)
@given(data=st.one_of(st.sampled_from(PICTURES).flatmap(damaged), st.binary(max_size=40)))
def test_pictures(data: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(data)
    target = outcome("pictures", lambda: load_target(path, 8), capsys, str(path))
    assert target is None or (target.shape == (1, 3, 8, 8) and bool((target.abs() <= 1).all()))


TABLE = {"a.png": {"age": 3, "mean": 0.5, "note": "x"}, "b.png": {"age": None, "mean": 1, "note": "y"}}
LABELS = {"labels": [["a.png", 1], ["b.png", 0], ["c.png", [0.5, 1]]]}


@fuzz(80)
@given(
    data=st.one_of(
        st.one_of(altered(TABLE), altered(LABELS)).map(lambda values: json.dumps(values).encode()),
        st.sampled_from([b"[" * 100_000, b'{"labels": 5}', b'{"a":' * 5000, b"\xef\xbb\xbf{}", b"\xff"]),
        st.binary(max_size=40),
    )
)
def test_json_tables(data: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    table = outcome("JSON tables", lambda: AttributeTable(data, "dataset.json"), capsys, "dataset.json")
    assert table is None or all(isinstance(row[0], str) for row in table.rows)


@fuzz(80)
@given(
    data=st.one_of(
        damaged(b"file,age,label\na.png,3,kit\nb.png,,tom\n"),
        st.sampled_from([b"file,age\na.png," + b"1" * 200_000, b"file,a\rb,1\rc,2", b'file,a\n"', b"file,a\nb," + b"9" * 5000]),
        st.text(alphabet='ab,1."\r\n\0', max_size=40).map(str.encode),
    )
)
def test_csv_tables(data: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    table = outcome("CSV tables", lambda: AttributeTable(data, "list.csv"), capsys, "list.csv")
    assert table is None or all(len(row) == 3 for row in table.rows)


# --- edits, latents, masks, statistics, classifiers -------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tiny_config: Callable[..., Any], tiny_trainer: Callable[..., Trainer]) -> Trainer:
    return tiny_trainer(tiny_config())


@pytest.fixture(scope="module")
def first_state(trained: Trainer) -> dict[str, Any]:
    """Of `trained`, which examples load other states into: they all start from this one."""
    return copy.deepcopy(trained.state.state_dict())


@pytest.fixture(scope="module")
def generator(trained: Trainer) -> Generator:
    return trained.system.average.module


@fuzz(120)
@given(data=st.data())
def test_edits(data: st.DataObject, generator: Generator, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edits = [
        Intervention("8x8.up", 1, "h", "scale", 2.0), Intervention("8x8.up", 0, "h", "move", 1.0, torch.ones(1)),
    ]  # fmt: skip
    content = edits_to_dict(edits, generator)
    texts = altered(content).map(lambda values: json.dumps(values).encode())
    special = st.sampled_from([b"[" * 100_000, b'{"a": ' * 100_000, b"1" * 5000, b"\xff", b"", b"NaN"])
    path = tmp_path / "edits.json"
    path.write_bytes(data.draw(st.one_of(texts, damaged(json.dumps(content).encode()), special)))
    found = outcome("edits", lambda: load_edits(path, generator), capsys, str(path))
    if found:
        generator(torch.zeros(1, 8), interventions=found)
        assert all(np.isfinite(edit.amount) for edit in found)


def npz(arrays: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            if isinstance(array, bytes):
                archive.writestr(name, array)
                continue
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, array, allow_pickle=True)
    return file.getvalue()


def npy(header: str) -> bytes:
    """An array file of any header, with 64 bytes of data."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header.encode() + b"\n" + bytes(64)


TYPES = st.sampled_from(["<f4", ">f4", "<f8", "<f2", "g", "c8", "i1", ">i8", "<u8", "?", "U3", "S2", "O", "M8[s]", "V3"])
SHAPES = st.sampled_from([(2, 3, 16), (1, 16), (2, 8, 8), (2,), (), (0, 16), (1, 1, 1, 1), (2, 2, 16), (1, 6, 16), (2, 4, 16)])
HEADERS = st.sampled_from([
    "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776, 1)}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 16)}", "{'descr': 'x', 'fortran_order': False, 'shape': (1, 16)}",
    "{'descr': '<f4', 'fortran_order': 3, 'shape': (1, 16)}", "{'descr': '<f4', 'fortran_order': False, 'shape': [1, 16]}",
    "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1, 16)}", "{" * 300, "((((", "'''", "1" * 5000,
    "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", "{'descr': '<f4', 'fortran_order': False, 'shape': (True, 16)}",
])  # fmt: skip
ARRAYS = st.one_of(
    st.tuples(TYPES, SHAPES).map(lambda pair: np.zeros(pair[1], np.dtype(pair[0]))), HEADERS.map(npy), st.binary(max_size=20)
)
ENTRIES = st.fixed_dictionaries({"latents": ARRAYS, "masks": ARRAYS, "names": ARRAYS})


@fuzz(150)
@given(data=st.data())
def test_npz_files(data: st.DataObject, generator: Generator, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entries = data.draw(ENTRIES)
    content = npz({(f"{n}.npy" if isinstance(a, bytes) else n): a for n, a in entries.items()})
    path = tmp_path / "a.npz"
    path.write_bytes(data.draw(st.one_of(st.just(content), damaged(content))))
    latents = outcome("npz: latents", lambda: load_latents(path, generator), capsys, str(path))
    assert latents is None or (latents.dtype == torch.float32 and bool(latents.isfinite().all()) and latents.ndim == 3)
    masks = outcome("npz: masks", lambda: load_masks(path, 2, 8), capsys, str(path))
    assert masks is None or int(masks.masks.max()) < len(masks.names)
    cache = StatisticsCache(tmp_path)
    cache.save({"a": 1}, {"x": torch.ones(3)})
    (kept,) = [found for found in tmp_path.glob("*.npz") if found.name != "a.npz"]
    kept.write_bytes(data.draw(st.one_of(st.just(content), damaged(kept.read_bytes()))))
    outcome("npz: statistics", lambda: cache.load({"a": 1}), capsys)


@fuzz(30)
@given(data=st.data())
def test_classifiers(data: st.DataObject, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record, path = json.loads(CLASSIFIER_FILE.with_suffix(".json").read_text()), tmp_path / "c.npz"
    whole = CLASSIFIER_FILE.read_bytes()
    content = data.draw(st.one_of(st.just(whole), damaged(whole), st.binary(max_size=9)))
    path.write_bytes(content)
    wanted = {name: record[name] for name in ("kind", "names", "widths")}
    changed = data.draw(st.one_of(st.just(wanted), altered(wanted)))
    if data.draw(st.booleans()):
        changed["sha256"] = hashlib.sha256(content).hexdigest()
    path.with_suffix(".json").write_text(json.dumps(changed))
    network = outcome("classifiers", lambda: load_avatar_classifier(path), capsys, str(tmp_path / "c."))
    assert network is None or network(torch.zeros(1, 3, 64, 64)).shape == (1, len(network.names))


@fuzz(60)
@given(text=st.one_of(st.text(max_size=8), st.text(alphabet="0123456789,- ", max_size=14), ODD_TEXTS))
def test_seeds(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    seeds = outcome("seeds", lambda: parse_seeds(text), capsys)
    assert seeds is None or all(0 <= seed < 2**32 for seed in seeds)


# --- checkpoints and exports ------------------------------------------------------------------------------------------

TENSORS = st.sampled_from([
    torch.zeros(3), torch.zeros(8, dtype=torch.int64), torch.zeros(8, dtype=torch.complex64), torch.full((8,), torch.nan),
    torch.zeros(()), torch.zeros(1).expand(1 << 40), torch.zeros(8, dtype=torch.float64), torch.zeros(8).to_sparse(),
    torch.zeros(0, 5), torch.zeros(8, dtype=torch.bool), torch.zeros(16), torch.full((), 1e30), torch.zeros(8, 8),
])  # fmt: skip
STATE_VALUES = st.one_of(VALUES, TENSORS, st.just([3]), st.just({}))


def resealed(data: bytes) -> bytes:
    """A crafted file: its checksum holds."""
    file = io.BytesIO(data[: -len("sha256:") - 64])
    file.seek(-2, os.SEEK_END)
    file.write(b"\0\0")
    file.fileno = lambda: 0  # type: ignore[method-assign]
    _seal(file)
    return file.getvalue()


@fuzz(60)
@given(data=st.data())
def test_checkpoints(
    data: st.DataObject, trained: Trainer, first_state: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "checkpoint-00000001.pt"
    state = copy.deepcopy(first_state)
    kind = data.draw(st.sampled_from(["values", "values", "configuration", "bytes", "sealed bytes"]))
    if kind == "values":
        state = data.draw(altered(state, STATE_VALUES))
    elif kind == "configuration":
        state = {**state, "config": data.draw(st.one_of(altered(state["config"]), VALUES))}
    save_checkpoint(state, path)
    if "bytes" in kind:
        content = data.draw(damaged(path.read_bytes()))
        # The pickle is small beside the weights: half of the changes hit it.
        if data.draw(st.booleans()):
            start, end = (at := path.read_bytes().index(b"data.pkl")), at + 3000
            whole = path.read_bytes()
            content = whole[:start] + data.draw(damaged(whole[start:end])) + whole[end:]
        if kind == "sealed bytes" and content[-71:-64] == b"sha256:":
            content = resealed(content)
        path.write_bytes(content)
    loaded = outcome(f"checkpoints: {kind}", lambda: load_checkpoint(path), capsys, str(path))
    found = outcome("load_generator", lambda: load_generator(path), capsys, str(path))
    assert found is None or all(bool(value.isfinite().all()) for value in found.state_dict().values())
    if loaded is None:
        assert found is None
    elif _cheap(loaded):
        outcome("load_system", lambda: load_system(path), capsys, str(path))
        notes = outcome("resume", lambda: trained.state.load_state_dict(loaded, str(path)), capsys, str(path))
        assert notes is None or trained.state.step >= 0


def _cheap(state: dict[str, Any]) -> bool:
    """Whether a configuration that a fuzzer made up asks for networks that a test can build."""
    numbers = [value for part in leaves_of(state.get("config")) if isinstance(value := _at(state["config"], part), int | float)]
    return all(number < 1e6 for number in numbers)


def _at(values: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        values = values[key]
    return values


@fuzz(60)
@given(data=st.data())
def test_exports(data: st.DataObject, generator: Generator, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_exported(generator, tmp_path, {})
    description = json.loads((tmp_path / CONFIG_NAME).read_text())
    content = (tmp_path / WEIGHTS_NAME).read_bytes()
    weights = {name: value.contiguous() for name, value in generator.state_dict().items()}
    kind = data.draw(st.sampled_from(["bytes", "header", "weights", "description", "text"]))
    if kind == "bytes":
        content = data.draw(damaged(content))
    elif kind == "header":  # the JSON before the weights
        length = 8 + int.from_bytes(content[:8], "little")
        header = data.draw(damaged(content[8:length]))
        content = struct.pack("<Q", len(header)) + header + content[length:]
    elif kind == "weights":
        name = data.draw(st.sampled_from(sorted(weights)))
        value = data.draw(TENSORS.filter(lambda tensor: tensor.layout == torch.strided and tensor.numel() < 100))
        content = save({**weights, name: value.contiguous()})
    if kind != "bytes" or data.draw(st.booleans()):
        description["sha256"] = hashlib.sha256(content).hexdigest()
    if kind == "description":
        description = data.draw(altered(description))
    text = json.dumps(description).encode()
    (tmp_path / WEIGHTS_NAME).write_bytes(content)
    (tmp_path / CONFIG_NAME).write_bytes(data.draw(damaged(text)) if kind == "text" else text)
    found = outcome(f"exports: {kind}", lambda: load_exported(tmp_path), capsys, str(tmp_path))
    assert found is None or dataclasses.asdict(found.config)["z_dim"] == found.config.z_dim


def test_names_of_any_kind(capsys: pytest.CaptureFixture[str]) -> None:
    """A name with control characters, or of any length, is printed in one short line."""
    for name in ("a\nb", "\x1b[31mred", "x" * 60_000, "\u2028", "\udcff", "y " * 9000):
        with pytest.raises(SystemExit), exit_on_input_error():
            raise InputError(f"{name}: no such file")
        printed = capsys.readouterr().err
        assert printed.endswith("no such file\n") and printed[:-1].isprintable() and len(printed) < 5000
