"""Reading prepared sets: in any process, in any order, and one line for whatever is not a finished, whole set."""

import faulthandler
import json
import multiprocessing
import os
import pickle
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path

import lmdb
import numpy as np
import pytest
import torch
from PIL import Image

from sarigan.data.lmdb.dataset import LmdbDataset, LmdbFile
from sarigan.data.lmdb.format import FORMAT_VERSION, Header, Recipe, header_from_json, image_key, info_key, to_json
from sarigan.data.loader import DataConfig, open_dataset, training_batches
from sarigan.errors import InputError

Make = Callable[..., LmdbDataset]


@pytest.fixture
def prepared(pictures: Path, tmp_path: Path, make_set: Make) -> Path:
    """Twelve images at 16 and 8 px."""
    make_set(pictures, tmp_path / "set", 16, 8)
    return tmp_path / "set"


def write(path: Path, changes: dict[bytes, bytes | None]) -> Path:
    with lmdb.open(str(path), map_size=1 << 26) as database, database.begin(write=True) as transaction:
        for key, value in changes.items():
            transaction.delete(key) if value is None else transaction.put(key, value)
    return path


def test_images_match_the_records(prepared: Path) -> None:
    file = LmdbFile(prepared)
    for resolution in (16, 8):
        dataset = LmdbDataset(prepared, resolution)
        assert len(dataset) == 12 and dataset.resolution == resolution
        for index in (11, 0, 5):
            pixels = np.frombuffer(file.get(image_key(index, resolution)) or b"", np.uint8)
            image = dataset[index]
            np.testing.assert_array_equal(image.ravel(), pixels)
            assert image.shape == (3, resolution, resolution) and image.flags.writeable and image.flags.owndata
    assert LmdbDataset(prepared).resolution == 16
    for index in (-1, 12):
        with pytest.raises(IndexError, match="out of range for 12 images"):
            dataset[index]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_open_the_file_themselves(prepared: Path, method: str) -> None:
    """Also when the parent, and another data set of the parent, have it open already."""
    large, small = LmdbDataset(prepared, 16), LmdbDataset(prepared, 8)
    here = [*large], [*small]
    np.testing.assert_array_equal([*pickle.loads(pickle.dumps(large))], here[0])
    # No Pool: it ends by a signal, which a worker that is just being forked may lose, and then waits for ever.
    with ProcessPoolExecutor(2, multiprocessing.get_context(method)) as pool:
        for dataset, expected in ((large, here[0]), (small, here[1]), (large, here[0])):
            np.testing.assert_array_equal([*pool.map(dataset.__getitem__, list(range(12)) * 4)], expected * 4)
    np.testing.assert_array_equal([*large], here[0])


def test_nothing_is_written_and_a_read_only_folder_will_do(prepared: Path) -> None:
    before = {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in prepared.iterdir()}
    os.chmod(prepared, 0o555)
    dataset = LmdbDataset(prepared)
    assert len([*dataset]) == 12 and len(dataset.skipped()) == 2 and dataset.report()["entries"] == 14
    os.chmod(prepared, 0o755)
    assert before == {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in prepared.iterdir()}


def test_a_file_can_be_replaced_when_nobody_reads_it(prepared: Path, tmp_path: Path, make_set: Make) -> None:
    before = LmdbDataset(prepared).header.content_hash
    shutil.rmtree(prepared)
    assert make_set("avatars", prepared, 32, num_images=3).header.content_hash != before
    assert LmdbDataset(prepared)[2].shape == (3, 32, 32)


def test_batches_are_the_samplers(prepared: Path) -> None:
    """Through worker processes as without them, from any position on."""
    dataset = LmdbDataset(prepared, 8)
    alone = [*islice(training_batches(dataset, DataConfig(num_workers=0), 7, 0, 4), 8)]
    workers = [*islice(training_batches(dataset, DataConfig(num_workers=2), 7, 0, 4), 8)]
    later = [*islice(training_batches(dataset, DataConfig(num_workers=2), 7, 12, 4), 5)]
    assert all(torch.equal(a.images, b.images) for a, b in zip(alone, workers, strict=True))
    assert all(torch.equal(a.images, b.images) for a, b in zip(alone[3:], later, strict=True))
    flips = {bytes(image): index for index in range(12) for image in (dataset[index], dataset[index][:, :, ::-1].copy())}
    epoch = [flips[bytes(image.numpy())] for batch in alone[:3] for image in batch.images]
    assert sorted(epoch) == list(range(12))


def test_configuration_and_description(prepared: Path) -> None:
    dataset = open_dataset(DataConfig(name="lmdb", path=str(prepared)), 8)
    content_hash = LmdbDataset(prepared).header.content_hash
    assert dataset.describe() == (f"lmdb: 12 images, 8x8, {prepared}, crop center, lanczos, raw, hash {content_hash[:16]}")
    with pytest.raises(InputError, match=r"data\.path must be a set made by scripts/prepare_data\.py for data\.name=lmdb"):
        DataConfig(name="lmdb")
    with pytest.raises(InputError, match=r"an LMDB, such as a prepared set; data\.name=lmdb reads it, got data\.name=folder"):
        open_dataset(DataConfig(name="folder", path=str(prepared)), 8)
    with pytest.raises(InputError) as caught:
        open_dataset(DataConfig(name="lmdb", path=str(prepared)), 32)
    assert str(caught.value) == f"{prepared}: holds 8x8 and 16x16, not 32"
    with pytest.raises(InputError) as caught:
        open_dataset(DataConfig(name="lmdb", path=str(prepared)), 4)
    remedy = f"make a smaller set: scripts/prepare_data.py {prepared} NEW --resolution 4"
    assert str(caught.value) == f"{prepared}: holds 8x8 and 16x16, not 4; {remedy}"


def test_headers_survive_json_and_newer_ones_are_refused() -> None:
    recipe = Recipe((8, 16), crop="pad", enlarge=True, resized_from=32)
    header = Header(3, recipe, ["a", "ä"], {"age": "int"}).with_hash(bytes(32))
    assert header_from_json(to_json(header.to_dict()), "x") == header
    changed = {"num_images": 4, "crop": "none", "label_names": ["a"], "attributes": {}, "resolutions": [8]}
    for name, value in changed.items():
        other = header_from_json(to_json({**header.to_dict(), name: value}), "x").with_hash(bytes(32))
        assert other.content_hash != header.content_hash
    for values, message in (
        ({"format_version": FORMAT_VERSION + 1}, "x: format version 2, this version of sarigan reads 1; update sarigan"),
        ({"format_version": 0}, "x: format version 0, this version of sarigan reads 1; prepare it again"),
        ({"format": "other"}, "x: not a readable header of a prepared image set (format 'other')"),
        ({"num_images": "x"}, "x: not a readable header of a prepared image set (num_images 'x')"),
        ({"resolutions": ["a"]}, "x: not a readable header of a prepared image set ('<=' not supported between instances of"),
        ({"label_names": [1]}, "x: not a readable header of a prepared image set (label_names are no list of names)"),
        ({"attributes": []}, "x: not a readable header of a prepared image set (attributes or content_hash are of another"),
        ({"encoding": "avif"}, "x: not a readable header of a prepared image set (encoding must be one of raw, webp, got"),
    ):
        with pytest.raises(InputError) as caught:
            header_from_json(to_json({**header.to_dict(), **values}), "x")
        assert str(caught.value).startswith(message)
    for data in (b"", b"[]", b"\xff", to_json({"format": "sarigan image set"})):
        with pytest.raises(InputError, match="^x: not a readable header of a prepared image set "):
            header_from_json(data, "x")


def test_wrong_files(prepared: Path, tmp_path: Path) -> None:
    def fails(path: Path, message: str, index: int | None = None) -> None:
        with pytest.raises(InputError) as caught:
            dataset = LmdbDataset(path)
            if index is not None:
                dataset[index]
        assert str(caught.value).startswith(message) and "\n" not in str(caught.value), str(caught.value)

    fails(tmp_path / "no", f"{tmp_path / 'no'}: no such data set; prepare it with scripts/prepare_data.py (the command")
    fails(tmp_path, f"{tmp_path}: no such LMDB (the folder has no data.mdb)")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    write(foreign, {b"x": b"y"})
    remedy = f"make one: scripts/prepare_data.py {foreign} NEW --resolution R"
    fails(foreign, f"{foreign}: an LMDB, but not a prepared set; {remedy}")
    newer = write(
        shutil.copytree(prepared, tmp_path / "newer"),
        {b".header": to_json({"format": "sarigan image set", "format_version": 9})},
    )
    fails(newer, f"{newer}: format version 9, this version of sarigan reads 1; update sarigan")
    short = shutil.copytree(prepared, tmp_path / "short")
    os.truncate(short / "data.mdb", 12_288)
    fails(short, f"{short / 'data.mdb'}: truncated, 12288 bytes where")
    for content in (b"", b"text", bytes(20_000)):
        damaged = tmp_path / f"damaged{len(content)}"
        damaged.mkdir()
        (damaged / "data.mdb").write_bytes(content)
        fails(damaged, f"{damaged}: ")
    holes = write(
        shutil.copytree(prepared, tmp_path / "holes"), {image_key(3, 16): None, image_key(4, 16): b"?", info_key(5): None}
    )
    fails(holes, f"{holes}: record 00000003/00016 is missing; check it with scripts/prepare_data.py --verify", 3)
    fails(holes, f"{holes}: record 00000004/00016 is damaged (", 4)
    with pytest.raises(InputError, match="record 00000005/info is missing"):
        LmdbDataset(holes).info(5)


def test_records_of_the_wrong_kind(prepared: Path, tmp_path: Path) -> None:
    odd = write(
        shutil.copytree(prepared, tmp_path / "odd"),
        {b".report": b"[]", info_key(1): b"[" * 100_000, info_key(2): b'{"sha256": ""}', b".skipped/x": b"\xff"},
    )
    dataset = LmdbDataset(odd)
    for name, read in (
        (".report", dataset.report),
        (".skipped/x", dataset.skipped),
        ("record 00000001/info", lambda: dataset[1]),
        ("record 00000002/info", lambda: dataset[2]),
    ):
        with pytest.raises(InputError) as caught:
            read()
        assert str(caught.value).startswith(f"{odd}: {name}") and "\n" not in str(caught.value)


SAME, REFUSED, OTHER = range(3)


def outcome_of_reading(path: Path, expected: list[np.ndarray]) -> int:
    """What reading all images comes to, in a process of its own: SAME, REFUSED (with one line), OTHER; negative: a signal."""
    pid = os.fork()
    if pid == 0:
        faulthandler.disable()
        outcome = OTHER
        try:
            outcome = SAME if np.array_equal([*LmdbDataset(path)], expected) else OTHER
        except InputError as error:
            outcome = REFUSED if "\n" not in str(error) else OTHER
        finally:
            os._exit(outcome)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize("encoding", ["raw", "webp"])
def test_a_flipped_bit_never_gives_another_image(pictures: Path, tmp_path: Path, make_set: Make, encoding: str) -> None:
    """Bits of page heads, keys, lengths and images alike."""
    expected = [*make_set(pictures, tmp_path / "set", 16, encoding=encoding)]
    whole = (tmp_path / "set" / "data.mdb").read_bytes()
    draws = np.random.default_rng(0)
    outcomes = []
    for number in range(120):
        position = int(draws.integers(8192, len(whole)))  # the first two pages are LMDB's own
        if number % 3 == 0:
            position = position // 4096 * 4096 + int(draws.integers(64))  # in a page's head
        flipped = bytearray(whole)
        flipped[position] ^= 1 << int(draws.integers(8))
        (tmp_path / "flipped.lmdb").write_bytes(flipped)
        outcomes.append(outcome_of_reading(tmp_path / "flipped.lmdb", expected))
    # A length that leads out of the map ends the process (SIGBUS), as a data worker or --verify then says.
    assert outcomes.count(OTHER) == 0 and outcomes.count(REFUSED) > 20, outcomes


def test_places_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    os.mkfifo(tmp_path / "set" / "data.mdb")
    pipe = rf"^{tmp_path}/set/data\.mdb: a pipe, socket or device; a regular file or a folder is right$"
    for name, message in (("set", pipe), ("set/data.mdb", pipe), ("x" * 5000, "name too long"), ("a\0b", "cannot be read")):
        with pytest.raises(InputError, match=message):
            LmdbDataset(tmp_path / name)


def test_a_single_file_is_read_like_a_folder(prepared: Path, tmp_path: Path) -> None:
    expected = [*LmdbDataset(prepared)]
    shutil.copy(prepared / "data.mdb", tmp_path / "set.lmdb")
    np.testing.assert_array_equal([*LmdbDataset(tmp_path / "set.lmdb")], expected)
    assert [*LmdbFile(tmp_path / "set.lmdb").keys()] == [*LmdbFile(prepared).keys()]


def test_info_is_json_anyone_can_read(prepared: Path) -> None:
    info = json.loads(LmdbFile(prepared).get(info_key(0)) or b"")
    assert info["name"] == "cats/0.jpg" and info["label"] == 0 and len(info["sha256"]) == 2


def test_webp_sets(pictures: Path, tmp_path: Path, make_set: Make) -> None:
    raw, webp = make_set(pictures, tmp_path / "raw", 16), make_set(pictures, tmp_path / "webp", 16, encoding="webp")
    np.testing.assert_array_equal([*raw], [*webp])
    with Image.open(pictures / "dogs" / "6.png") as picture:
        assert picture.size == (24, 26)
