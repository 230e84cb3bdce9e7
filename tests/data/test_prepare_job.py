"""Preparations: the hash against its definition, interruptions of every kind, limits, and inspection of the result."""

import faulthandler
import hashlib
import json
import math
import os
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import lmdb
import numpy as np
import pytest
from PIL import Image
from process_tools import DEADLINE, wait_until

from sarigan.data.lmdb.dataset import LmdbDataset, partial_path
from sarigan.data.lmdb.format import Recipe, image_key, info_key
from sarigan.data.prepare import job
from sarigan.data.prepare.destination import destination_lock
from sarigan.data.prepare.inspection import save_contact_sheet, verify
from sarigan.data.prepare.job import Options, prepare
from sarigan.data.prepare.listing import Item
from sarigan.data.prepare.sources.source import FileSource
from sarigan.data.prepare.worker_pool import Prepared, run_ahead
from sarigan.data.prepare.writer import SetWriter
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


HELD_BACK = """
import runpy, sys, time
from pathlib import Path
from sarigan.data.prepare.sources.source import AvatarSource
load, (script, ready, release) = AvatarSource.load, sys.argv[1:4]
def held_back(self, locator, recipe):
    if held_back.calls == 75:
        Path(ready).touch()
        while not Path(release).exists():
            time.sleep(0.01)
    held_back.calls += 1
    return load(self, locator, recipe)
held_back.calls = 0
AvatarSource.load = held_back
sys.argv = [script, *sys.argv[4:]]
runpy.run_path(script, run_name="__main__")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_stopped_or_killed_goes_on(tmp_path: Path, make_set: Make, number: signal.Signals) -> None:
    """The 76th of 150 pictures is held back until the signal has been sent, so that the run cannot end before it."""
    expected = make_set("avatars", tmp_path / "at once", 256, num_images=150).header.content_hash
    arguments = ["avatars", tmp_path / "set", "--resolution", 256, "--num-images", 150, "--workers", 1]
    ready, release = tmp_path / "ready", tmp_path / "release"
    process = subprocess.Popen(
        [sys.executable, "-c", HELD_BACK, str(SCRIPT), str(ready), str(release), *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )  # fmt: skip
    try:
        wait_until(ready.exists, "the picture that is held back", running=lambda: process.poll() is None)
        # Ctrl-C reaches the whole group; the command `kill` one process.
        os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
        release.touch()
        stdout, stderr = process.communicate(timeout=DEADLINE)
    finally:
        release.touch()
        process.kill()
        process.wait()
    assert not (tmp_path / "set").exists()
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 130 and "Traceback" not in stderr, stderr
        assert stdout.startswith("stopped after ") and stdout.endswith(" of 150; the same command goes on\n")
        assert 0 < int(stdout.split()[2]) < 150
    done = run_script(*arguments)
    assert done.returncode == 0, done.stderr
    if number != signal.SIGKILL:
        assert f"{stdout.split()[2]}/150" in done.stderr  # it goes on where it stopped
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
    assert done.stdout.splitlines()[-1] == f"{tmp_path / 'set'}: 297 images (left out: 3 broken), hash {expected}"


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


def overlong(path: Path, key: bytes) -> Path:
    """A copy of a set in which one record claims to be a GiB longer: reading it leads out of the map (SIGBUS)."""
    copy = path.with_name(f"{path.name} overlong")
    shutil.copytree(path, copy)
    data = bytearray((copy / "data.mdb").read_bytes())
    node = struct.Struct("<4H")  # in front of the key: the record's length low and high, flags, the key's length
    for found in re.finditer(re.escape(key), bytes(data)):  # also in pages that are not used any more
        low, high, flags, key_length = node.unpack_from(data, found.start() - node.size)
        if (low + (high << 16), key_length) == (3 * 64 * 64, len(key)):
            node.pack_into(data, found.start() - node.size, low, high | 0x4000, flags, key_length)
    (copy / "data.mdb").write_bytes(data)
    return copy


@pytest.mark.skipif(sys.platform != "linux", reason="a map ends in other ways elsewhere")
def test_a_record_that_leads_out_of_the_file(tmp_path: Path, make_set: Make) -> None:
    make_set("avatars", tmp_path / "set", 64, num_images=6)
    damaged = overlong(tmp_path / "set", image_key(4, 64))
    done = run_script("--verify", damaged)
    assert done.returncode == 2, done.returncode
    message = f"error: {damaged}: damaged; reading it ended the process (SIGBUS); prepare the set again"
    assert done.stderr.splitlines()[-1].endswith(message) and "Traceback" not in done.stderr


def test_a_source_that_kills_its_reader_is_not_called_want_of_memory(
    many: Path, tmp_path: Path, make_set: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deadly(self: FileSource, locator: bytes, recipe: Recipe) -> object:
        faulthandler.disable()  # pytest's, which would print the stack
        os.kill(os.getpid(), signal.SIGBUS)

    monkeypatch.setattr(FileSource, "load", deadly)
    with pytest.raises(InputError) as caught:
        make_set(many, tmp_path / "set", 8, num_workers=1)
    assert str(caught.value) == (
        f"folder {many}: a worker process was killed between 000.png and 255.png (SIGBUS): the source is damaged there, or has"
        " changed while it was read"
    )


def test_an_error_of_the_program_in_a_worker_is_shown(
    many: Path, tmp_path: Path, make_set: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(self: FileSource, locator: bytes, recipe: Recipe) -> object:
        raise ZeroDivisionError("what nobody expects")

    monkeypatch.setattr(FileSource, "load", wrong)
    with pytest.raises(RuntimeError, match=r"000\.png, in a worker:\n(.|\n)*ZeroDivisionError: what nobody expects"):
        make_set(many, tmp_path / "set", 8, num_workers=1)


def test_files_that_are_not_a_preparations_are_not_touched(pictures: Path, tmp_path: Path, make_set: Make) -> None:
    """DEST.partial is written and emptied, so it must be a preparation's."""
    partial = tmp_path / "set.partial"
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    archive = tmp_path / "p.zip"
    with zipfile.ZipFile(archive, "w") as target:
        target.write(pictures / "dogs" / "0.png", "0.png")

    def refused(source: Path, message: str) -> None:
        before = sorted((path, path.is_file() and path.read_bytes()) for path in tmp_path.rglob("*"))
        with pytest.raises(InputError) as caught:
            make_set(source, tmp_path / "set", 8, num_workers=1)
        assert str(caught.value).startswith(message) and "\n" not in str(caught.value), str(caught.value)
        assert sorted((path, path.is_file() and path.read_bytes()) for path in tmp_path.rglob("*")) == before

    partial.symlink_to(mine)
    refused(pictures, f"{partial}: is a link, so it is no unfinished preparation; move it away or name another destination")
    partial.unlink()
    partial.write_text("a file")
    refused(pictures, f"{partial}: is a file, so")
    partial.unlink()
    partial.mkdir()
    shutil.move(archive, partial / "p.zip")
    refused(partial / "p.zip", f"{partial / 'p.zip'}: lies in {partial}, where {tmp_path / 'set'} is prepared; name another")
    refused(pictures, f"{partial}: holds p.zip, so it is no unfinished preparation")
    shutil.rmtree(partial)
    shutil.copytree(pictures, partial)
    refused(partial, f"{partial}: lies in {partial}, where")
    shutil.rmtree(partial)
    partial.mkdir()
    write_records(partial, {b"a record": b"of somebody"})
    refused(pictures, f"{partial}: holds another data.mdb, so it is no unfinished preparation")
    shutil.rmtree(partial)
    (tmp_path / "set").symlink_to("nowhere")
    refused(pictures, f"{tmp_path / 'set'}: exists already")
    (tmp_path / "set").unlink()
    assert len(make_set(pictures, tmp_path / "set", 8)) == 12 and sorted(os.listdir(mine)) == ["thesis.txt"]


def test_a_set_has_at_most_a_hundred_million_images(
    pictures: Path, tmp_path: Path, make_set: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys of eight digits: b"100000000/..." sorts before b"99999999/...", where LMDB's append refuses it without a word."""
    writer = SetWriter(tmp_path)
    writer.start({})
    record = Prepared({8: bytes(192)}, {8: bytes(32)}, [])
    writer.state.num_images = 10**8 - 1
    writer.append(Item(b"a", b"", {"name": "a"}), record)
    with pytest.raises(InputError, match="no place after the last record for 100000000/00008"):
        writer.append(Item(b"b", b"", {"name": "b"}), record)
    writer.close()
    with pytest.raises(InputError, match="^--num-images must be at most 100000000, all that a set can hold, got 100000001$"):
        Options(num_images=10**8 + 1)
    monkeypatch.setattr(job, "MAX_IMAGES", 13)
    with pytest.raises(InputError) as caught:
        make_set(pictures, tmp_path / "set", 8)
    message = f"folder {pictures}: 14 pictures, a set holds at most 13; --num-images 13 takes the first"
    assert str(caught.value) == message and not (tmp_path / "set.partial").exists()


def test_a_commit_is_on_the_disk_when_it_returns(tmp_path: Path) -> None:
    """LMDB without `metasync` leaves the last commit's root page to the next one, so a power failure costs two."""
    writer = SetWriter(tmp_path)
    flags = writer._lmdb.flags()
    writer.close()
    assert flags["sync"] and flags["metasync"]


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
    assert done.stdout.splitlines()[-1] == f"{target}: 12 images (left out: 2 broken, 1 .txt), hash {content_hash}"
    done = run_script("--verify", target)
    assert done.returncode == 0 and done.stdout == f"{target}: 12 images, all records match the hash {content_hash}\n"
    done = run_script("--info", target)
    assert done.returncode == 0 and "label_names: cats, dogs" in done.stdout.splitlines()
    assert Image.open(target / "contact_sheet.png").size == (512, 384)
    shutil.copy(target / "data.mdb", tmp_path / "one.lmdb")
    done = run_script("--info", tmp_path / "one.lmdb")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"contact sheet: {tmp_path / 'one_contact_sheet.png'}"
    assert Image.open(tmp_path / "one_contact_sheet.png").size == (512, 384)
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


ASKED_AT_ONCE = """
import os, signal, sys
from sarigan.data.lmdb.format import Recipe
from sarigan.data.prepare.worker_pool import WorkerPool
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(7))
fork = os.fork
def asked_at_once():
    process = fork()
    if process == 0:
        os.kill(os.getpid(), signal.SIGTERM)
    return process
os.fork = asked_at_once
(worker,) = WorkerPool(None, Recipe((8,)), 1)._processes
worker.join()
print(worker.exitcode)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux alone")
def test_a_worker_asked_to_end_before_it_works_runs_no_code_of_its_parent() -> None:
    """A handler that raises would have unwound the copy of the parent's stack, with all that ends there."""
    done = subprocess.run([sys.executable, "-c", ASKED_AT_ONCE], capture_output=True, text=True, timeout=DEADLINE)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{-signal.SIGTERM}\n", "")
