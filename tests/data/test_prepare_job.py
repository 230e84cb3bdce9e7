"""Preparations: the hash against its definition, interruptions of every kind, limits, and inspection of the result."""

import hashlib
import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import lmdb
import numpy as np
import pytest
from PIL import Image
from process_tools import DEADLINE, wait_until

from sarigan.data.lmdb_dataset import LmdbDataset, partial_path
from sarigan.data.lmdb_format import image_key, info_key
from sarigan.data.prepare import job
from sarigan.data.prepare.destination import destination_lock
from sarigan.data.prepare.inspection import save_contact_sheet, verify
from sarigan.data.prepare.job import prepare
from sarigan.data.prepare.options import Options
from sarigan.data.prepare.run_ahead import run_ahead
from sarigan.data.prepare.source import FileSource
from sarigan.data.recipe import Recipe
from sarigan.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "prepare_data.py"
Make = Callable[..., LmdbDataset]
Noise = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory, noise: Noise) -> Path:
    """300 pictures of 32x32, three of them broken."""
    root = tmp_path_factory.mktemp("many") / "pictures"
    root.mkdir()
    for index in range(300):
        Image.fromarray(noise(32, 32, index)).save(root / f"{index:03}.png", compress_level=1)
    for index in (0, 150, 299):
        (root / f"{index:03}.png").write_bytes(b"broken")
    return root


def records_of(path: Path) -> dict[bytes, bytes]:
    """Everything in a copy of the file, which may be open."""
    with tempfile.NamedTemporaryFile() as copy:
        shutil.copy(path / "data.mdb", copy.name)
        with lmdb.open(copy.name, subdir=False, readonly=True, lock=False) as database, database.begin() as transaction:
            return dict(transaction.cursor())


def write_records(path: Path, changes: dict[bytes, bytes | None]) -> None:
    with lmdb.open(str(path), map_size=1 << 28) as database, database.begin(write=True) as transaction:
        for key, value in changes.items():
            transaction.delete(key) if value is None else transaction.put(key, value)
    (path / "lock.mdb").unlink()


def run_script(*arguments: object, **settings: object) -> subprocess.CompletedProcess:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, **settings)


def test_the_hash_follows_its_definition(many: Path, tmp_path: Path, make_set: Make) -> None:
    """Recomputed from the LMDB alone, by the formula in the documentation of the format."""
    dataset = make_set(many, tmp_path / "set", 16, 8)
    records = records_of(tmp_path / "set")
    chain = bytes(32)
    for key in sorted(key for key in records if not key.startswith(b".")):
        chain = hashlib.sha256(chain + key + hashlib.sha256(records[key]).digest()).digest()
    header = json.loads(records[b".header"])
    stored = header.pop("content_hash")
    canonical = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    assert hashlib.sha256(canonical + chain).hexdigest() == stored == dataset.header.content_hash
    assert b".state" not in records and len(records) == 3 * 297 + 3 + 2


def test_workers_encodings_and_resolutions(many: Path, tmp_path: Path, make_set: Make) -> None:
    """The worker count changes nothing; whatever changes a pixel or a record changes the hash."""
    sets = {n: make_set(many, tmp_path / f"{n}", 16, num_workers=n, commit_megabytes=0.02 * n) for n in (1, 2, 5)}
    assert len({dataset.header.content_hash for dataset in sets.values()}) == 1
    assert len({records_of(tmp_path / f"{n}")[b".header"] for n in sets}) == 1
    recipes = [{}, {"encoding": "webp"}, {"resize_filter": "box"}, {"crop": "pad"}]
    others = [make_set(many, tmp_path / f"other {i}", 16, **recipe) for i, recipe in enumerate(recipes)]
    others += [make_set(many, tmp_path / "two", 16, 8), make_set(many, tmp_path / "few", 16, num_images=296)]
    assert len({dataset.header.content_hash for dataset in others}) == 6
    np.testing.assert_array_equal([*others[1]], [*others[0]])
    assert len(others[5]) == 296
    assert LmdbDataset(tmp_path / "two", 8).content_key != LmdbDataset(tmp_path / "two", 16).content_key


def stop_after(num_chunks: int) -> Callable[[], AbstractContextManager[object]]:
    """In place of `job.stop_flag`: as if Ctrl-C came while this chunk was in work."""
    looks = iter(range(10**9))
    return lambda: nullcontext(SimpleNamespace(is_set=lambda: next(looks) >= num_chunks))


def test_stopping_anywhere_and_going_on(many: Path, tmp_path: Path, make_set: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = make_set(many, tmp_path / "at once", 64, enlarge=True).header.content_hash
    monkeypatch.setattr("sarigan.data.prepare.worker_pool._CHUNK_ITEMS", 16)
    target = tmp_path / "set"
    progress = []
    for _ in range(30):
        with monkeypatch.context() as patch:
            patch.setattr(job, "stop_flag", stop_after(3))
            outcome = prepare(str(many), target, Recipe((64,), enlarge=True), Options(num_workers=1))
        progress.append(outcome.num_entries)
        if outcome.header is not None:
            break
        assert not target.exists()
        with pytest.raises(InputError, match="its preparation was interrupted; run the same .* command again to go on"):
            LmdbDataset(target)
        with pytest.raises(InputError, match="an unfinished preparation; run the same .* command again to go on"):
            LmdbDataset(partial_path(target))
    assert len(progress) >= 4 and progress == sorted(set(progress)) and progress[-1] == 300
    assert LmdbDataset(target).header.content_hash == expected == verify(target).content_hash
    assert len(LmdbDataset(target).skipped()) == 3


def test_ctrl_c_keeps_what_is_done(many: Path, tmp_path: Path, make_set: Make) -> None:
    expected = make_set("avatars", tmp_path / "at once", 256, num_images=150).header.content_hash
    arguments = ["avatars", tmp_path / "set", "--resolution", 256, "--num-images", 150, "--workers", 1]
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True,
    )  # fmt: skip
    listing = partial_path(tmp_path / "set") / "listing.sqlite"
    wait_until(listing.exists, "the listing", running=lambda: process.poll() is None)
    time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate(timeout=DEADLINE)
    assert "Traceback" not in stderr
    if process.returncode:  # a fast machine may have finished
        assert process.returncode == 130 and stdout.startswith("stopped after ") and "the same command goes on" in stdout
        assert int(stdout.split()[2]) > 0
        done = run_script(*arguments)
        assert done.returncode == 0, done.stderr
    assert LmdbDataset(tmp_path / "set").header.content_hash == expected


def test_a_kill_between_the_last_record_and_the_name(many: Path, tmp_path: Path, make_set: Make) -> None:
    header = make_set(many, tmp_path / "set", 8).header
    os.rename(tmp_path / "set", partial_path(tmp_path / "set"))
    again = make_set("its source is not needed any more", tmp_path / "set", 8)
    assert again.header == header


def interrupted(source: Path, target: Path, monkeypatch: pytest.MonkeyPatch, **settings: object) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("sarigan.data.prepare.worker_pool._CHUNK_ITEMS", 4)
        patch.setattr(job, "stop_flag", stop_after(1))
        assert prepare(str(source), target, Recipe((8,)), Options(num_workers=1, **settings)).header is None


def test_a_changed_source_or_setting_is_refused(
    pictures: Path, tmp_path: Path, make_set: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "set"
    interrupted(pictures, target, monkeypatch)
    with pytest.raises(InputError) as caught:
        make_set(pictures, target, 8, crop="pad", num_images=3)
    assert str(caught.value) == (
        f"{target}.partial: was begun with other settings (crop was 'center', is 'pad'; num_images was None, is 3);"
        " finish it with those, or delete it to start over"
    )
    (pictures / "cats" / "9.jpg").write_bytes(b"new")
    message = f"folder {pictures}: has changed since the preparation was interrupted; delete {target}.partial to start over"
    with pytest.raises(InputError) as caught:
        make_set(pictures, target, 8)
    assert str(caught.value) == message
    (pictures / "cats" / "9.jpg").unlink()
    content = (pictures / "dogs" / "6.png").read_bytes()
    (pictures / "dogs" / "6.png").write_bytes(content + b"!")
    with pytest.raises(InputError) as caught:
        make_set(pictures, target, 8)
    assert str(caught.value) == message
    shutil.rmtree(partial_path(target))
    assert len(make_set(pictures, target, 8)) == 12


def test_a_destination_that_exists_or_is_in_use(pictures: Path, tmp_path: Path, make_set: Make) -> None:
    for name in ("file", "folder"):
        target = tmp_path / name
        target.write_text("mine") if name == "file" else target.mkdir()
        with pytest.raises(InputError, match=f"{target}: exists already; delete it or name another destination"):
            make_set(pictures, target, 8)
        assert target.exists() and not partial_path(target).exists()
    inside = pictures / "set"
    with pytest.raises(InputError, match=f"{inside}: lies inside the source {pictures}, which is never written"):
        make_set(pictures, inside, 8)
    target = partial_path(tmp_path / "set")
    target.mkdir()
    ready, locked = os.pipe()
    pid = os.fork()
    if pid == 0:  # a lock of one's own process would not count
        with destination_lock(target):
            os.write(locked, b"!")
            time.sleep(3600)
        os._exit(0)
    try:
        os.read(ready, 1)
        with pytest.raises(InputError) as caught:
            make_set(pictures, tmp_path / "set", 8)
        assert str(caught.value) == f"{target}: another process is preparing this set"
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert len(make_set(pictures, tmp_path / "set", 8)) == 12


@pytest.mark.parametrize("megabytes", [0.0, -1.0, math.nan, math.inf])
def test_commit_megabytes_is_a_positive_number(megabytes: float) -> None:
    with pytest.raises(InputError, match=f"^--commit-megabytes must be a positive number, got {megabytes}$"):
        Options(commit_megabytes=megabytes)


def test_strict_and_the_limit_of_broken_pictures(many: Path, tmp_path: Path, make_set: Make) -> None:
    target = tmp_path / "set"
    with pytest.raises(InputError) as caught:
        make_set(many, target, 8, strict=True)
    assert str(caught.value) == f"folder {many}: 000.png: unknown or damaged image format"
    assert not target.exists() and not partial_path(target).exists()
    with pytest.raises(InputError) as caught:
        make_set(many, target, 8, max_broken=1)
    assert str(caught.value) == (
        f"folder {many}: more than 1 broken pictures, the last 150.png: unknown or damaged image format;"
        " if that is right, raise --max-broken"
    )
    dataset = make_set(many, target, 8, max_broken=3)  # goes on after picture 149
    assert [entry["name"] for entry in dataset.skipped()] == ["000.png", "150.png", "299.png"]
    text = (target / "report.txt").read_text()
    assert "skipped (broken) 150.png: unknown or damaged image format" in text and dataset.header.content_hash in text
    assert dataset.header.content_hash == make_set(many, tmp_path / "at once", 8).header.content_hash
    small = make_set(many, tmp_path / "small", 33, enlarge=True, strict=False)
    assert dataset.report()["skipped"] == {"broken": 3} and len(small) == 297


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(many: Path, tmp_path: Path, make_set: Make) -> None:
    """The largest size of a file stands for the size of a disk: writing past it fails in the same way."""
    expected = make_set(many, tmp_path / "at once", 128, enlarge=True).header.content_hash
    arguments = [many, tmp_path / "set", "--resolution", 128, "--enlarge", "--workers", 1, "--commit-megabytes", 2]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (6 << 20, 6 << 20))

    failed = run_script(*arguments, preexec_fn=limit)
    assert failed.returncode == 2
    line = failed.stderr.splitlines()[-1]
    assert line.startswith(f"error: {tmp_path / 'set'}.partial: cannot write after ")
    assert line.endswith("; make room, then run the same command again") and "Traceback" not in failed.stderr
    assert not (tmp_path / "set").exists()
    done = run_script(*arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{tmp_path / 'set'}: 297 images, hash {expected}"


def test_a_killed_worker_is_named(many: Path, tmp_path: Path, make_set: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    load = FileSource.load

    def deadly(self: FileSource, locator: bytes, recipe: Recipe) -> object:
        if locator == b"200.png":
            os.kill(os.getpid(), signal.SIGKILL)
        return load(self, locator, recipe)

    target = tmp_path / "set"
    with monkeypatch.context() as patch:
        patch.setattr(FileSource, "load", deadly)
        patch.setattr("sarigan.data.prepare.worker_pool._CHUNK_ITEMS", 50)
        with pytest.raises(InputError) as caught:
            make_set(many, target, 8, num_workers=2, commit_megabytes=0.001)
    assert str(caught.value).startswith(f"folder {many}: a worker process was killed between 200.png and 249.png, perhaps")
    assert not target.exists()
    assert make_set(many, target, 8).header.content_hash == make_set(many, tmp_path / "x", 8).header.content_hash


def test_a_source_that_cannot_be_read_stops_instead_of_losing_pictures(
    many: Path, tmp_path: Path, make_set: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = FileSource.load

    def unplugged(self: FileSource, locator: bytes, recipe: Recipe) -> object:
        if locator >= b"100.png":
            raise OSError(5, "Input/output error")
        return load(self, locator, recipe)

    with monkeypatch.context() as patch:
        patch.setattr(FileSource, "load", unplugged)
        with pytest.raises(InputError) as caught:
            make_set(many, tmp_path / "set", 8)
    assert str(caught.value) == f"folder {many}: cannot read 100.png (Input/output error); the same command goes on"
    assert len(make_set(many, tmp_path / "set", 8)) == 297


def test_verify_names_what_is_wrong(pictures: Path, tmp_path: Path, make_set: Make) -> None:
    dataset = make_set(pictures, tmp_path / "good", 8, 16)
    assert verify(tmp_path / "good") == dataset.header
    records = records_of(tmp_path / "good")
    flipped = bytearray(records[image_key(4, 16)])
    flipped[77] ^= 1
    info = json.loads(records[info_key(2)])
    changes = {
        "record 00000004/00016 (cats/5.jpg) is damaged": {image_key(4, 16): bytes(flipped)},
        "record 00000006/00008 is missing (found 00000006/00016)": {image_key(6, 8): None},
        "record 00000011/info is missing (found the end)": {info_key(11): None},
        "record 00000012/00008 is one too many": {image_key(12, 8): b"x"},
        "record 00000003/info is damaged": {info_key(3): b"{}"},
        f"header or records differ from the hash {dataset.header.content_hash}": {
            info_key(2): json.dumps({**info, "label": 1}, sort_keys=True, separators=(",", ":")).encode()
        },
    }
    for number, (message, change) in enumerate(changes.items()):
        path = tmp_path / f"bad {number}"
        shutil.copytree(tmp_path / "good", path)
        write_records(path, change)
        with pytest.raises(InputError) as caught:
            verify(path)
        assert str(caught.value) == f"{path}: {message}; prepare the set again"


def test_contact_sheet(tmp_path: Path, make_set: Make) -> None:
    dataset = make_set("avatars", tmp_path / "set", 128, num_images=100)
    save_contact_sheet(dataset, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        pixels = np.asarray(sheet)
    assert pixels.shape == (1024, 1024, 3)
    np.testing.assert_array_equal(pixels[:128, :128], dataset[0].transpose(1, 2, 0))
    np.testing.assert_array_equal(pixels[-128:, -128:], dataset[99].transpose(1, 2, 0))


def test_the_script(pictures: Path, tmp_path: Path) -> None:
    target = tmp_path / "set"
    done = run_script(pictures, target, "--resolution", 16, "--workers", 1)
    assert done.returncode == 0, done.stderr
    assert "skipped cats/3.jpg: " in done.stderr and "skipped dogs/5.png: empty file" in done.stderr
    content_hash = LmdbDataset(target).header.content_hash
    assert done.stdout.splitlines()[-1] == f"{target}: 12 images, hash {content_hash}"
    done = run_script("--verify", target)
    assert done.returncode == 0 and done.stdout == f"{target}: 12 images, all records match the hash {content_hash}\n"
    done = run_script("--info", target)
    assert done.returncode == 0 and "label_names: cats, dogs" in done.stdout.splitlines()
    assert Image.open(target / "contact_sheet.png").size == (512, 384)
    for arguments, message in (
        ([pictures, target, "--resolution", 16], f"error: {target}: exists already; delete it or name another destination"),
        (["--verify", tmp_path / "no"], f"error: {tmp_path / 'no'}: no such data set; prepare it with scripts/prepare_data.py"),
        ([pictures, tmp_path / "x", "--resolution", 0], "error: --resolution must be in 1..8192, got 0"),
        ([pictures, tmp_path / "x", "--resolution", 8, "--workers", 0], "error: --workers must be at least 1, got 0"),
    ):
        failed = run_script(*arguments)
        assert failed.returncode == 2 and failed.stderr.startswith(message) and len(failed.stderr.splitlines()) == 1
    assert run_script(pictures, target).returncode == 2


def test_drawing_ahead_keeps_order_and_errors() -> None:
    closed = threading.Event()

    def numbers():
        try:
            yield from range(5)
            raise RuntimeError("the end")
        finally:
            closed.set()

    drawn = []
    with pytest.raises(RuntimeError, match="the end"):
        for number in run_ahead(numbers(), 2):
            drawn.append(number)
    assert drawn == [0, 1, 2, 3, 4] and closed.is_set()
    closed.clear()
    early = run_ahead(numbers(), 2)
    assert next(early) == 0
    early.close()
    assert closed.is_set()
