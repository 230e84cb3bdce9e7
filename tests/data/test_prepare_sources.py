"""Sources: the same pictures out of a folder, zip, tar or LMDB are the same set; labels, attributes; wrong sources."""

import bz2
import gzip
import io
import json
import os
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import lmdb
import numpy as np
import pytest
from PIL import Image

from sarigan.data.avatars.dataset import AvatarDataset
from sarigan.data.lmdb.dataset import LmdbDataset
from sarigan.data.prepare.sources.source import ZipSource
from sarigan.errors import InputError

Make = Callable[..., LmdbDataset]
Noise = Callable[..., np.ndarray]


def write_zip(folder: Path, archive: Path, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(archive, "w", compression) as target:
        for path in sorted(folder.rglob("*"), reverse=True):
            target.write(path, path.relative_to(folder).as_posix())
    return archive


def write_tar(folder: Path, archive: Path) -> Path:
    with tarfile.open(archive, "w") as target:
        target.add(folder, ".")
    return archive


def write_lmdb(folder: Path, records: dict[bytes, bytes]) -> Path:
    with lmdb.open(str(folder), map_size=1 << 26) as database, database.begin(write=True) as transaction:
        for key, value in records.items():
            transaction.put(key, value)
    (folder / "lock.mdb").unlink()
    return folder


def jpeg(pixels: np.ndarray, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, quality=95)
    return buffer.getvalue()


def state_of(path: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every file below a path, with size, time and content: what must not change."""
    files = [path] if path.is_file() else [p for p in sorted(path.rglob("*")) if p.is_file()]
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns, p.read_bytes()) for p in files}


def fails(make: Make, source: Path | str, tmp_path: Path, message: str, *resolutions: int, **settings: object) -> None:
    """Preparing raises one line that begins with `message`, and leaves no finished set."""
    target = tmp_path / "refused"
    with pytest.raises(InputError) as caught:
        make(source, target, *(resolutions or (8,)), num_workers=1, **settings)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value), str(caught.value)
    assert not target.exists() and not target.with_name("refused.partial").exists()


def test_every_container_gives_the_same_set_and_is_not_touched(pictures: Path, tmp_path: Path, make_set: Make) -> None:
    tar = write_tar(pictures, tmp_path / "t.tar")
    sources = {
        "folder": pictures,
        "zip": write_zip(pictures, tmp_path / "z.zip"),
        "stored zip": write_zip(pictures, tmp_path / "s.zip", zipfile.ZIP_STORED),
        "tar": tar,
        "tar.gz": tmp_path / "t.tar.gz",
        "tar.bz2": tmp_path / "t.tbz",
    }
    sources["tar.gz"].write_bytes(gzip.compress(tar.read_bytes()))
    sources["tar.bz2"].write_bytes(bz2.compress(tar.read_bytes()))
    before = {name: state_of(source) for name, source in sources.items()}
    sets = {name: make_set(source, tmp_path / f"set {name}", 16, 8, num_workers=2) for name, source in sources.items()}
    assert len({dataset.header.content_hash for dataset in sets.values()}) == 1
    assert before == {name: state_of(source) for name, source in sources.items()}
    for name, dataset in sets.items():
        assert len(dataset) == 12
        assert [dataset.info(i)["name"] for i in (0, 3, 5, 6, 11)] == [
            "cats/0.jpg", "cats/4.jpg", "cats/6.jpg", "dogs/0.png", "dogs/6.png",
        ]  # fmt: skip
        assert dataset.header.label_names == ["cats", "dogs"]
        assert [dataset.label(i) for i in range(12)] == [0] * 6 + [1] * 6
        assert sorted(os.listdir(tmp_path / f"set {name}")) == ["data.mdb", "report.txt"]
        assert [entry["name"] for entry in dataset.skipped()] == ["cats/3.jpg", "dogs/5.png"]
        assert dataset.report()["ignored"] == {".txt": 1}
    with Image.open(pictures / "dogs" / "6.png") as picture:
        square = picture.crop((0, 1, 24, 25)).resize((16, 16), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(sets["zip"][11], np.asarray(square).transpose(2, 0, 1))


def test_lsun_export(tmp_path: Path, make_set: Make, noise: Noise) -> None:
    """As github.com/fyu/lsun exports it: JPEG or WebP bytes under keys that are hashes, here also under odd ones."""
    keys = [b"%040x" % (i * 7919 % 11) for i in range(11)] + [b"\x00\xff\xfe", b"a/b.png", "Käfer".encode()]
    values = {key: jpeg(noise(260, 300 + i, i), "WEBP" if i % 2 else "JPEG") for i, key in enumerate(keys)}
    values[b"%040x" % 3] = b""
    values[b"%040x" % 4] = b"\xff\xd8\xff cut off"
    source = write_lmdb(tmp_path / "cat", values)
    os.chmod(source, 0o555)
    before = state_of(source)
    dataset = make_set(source, tmp_path / "set", 256, num_workers=2)
    os.chmod(source, 0o755)
    assert before == state_of(source) and os.listdir(source) == ["data.mdb"]
    kept = [key for key in sorted(keys) if key not in (b"%040x" % 3, b"%040x" % 4)]
    assert len(dataset) == len(kept) == 12
    assert [entry["reason"] for entry in dataset.skipped()] == ["empty file", "unknown or damaged image format"]
    assert dataset.info(0)["name"] == "\x00\\xff\\xfe" and "label" not in dataset.info(0)
    for index, key in enumerate(kept):
        with Image.open(io.BytesIO(values[key])) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        left = (pixels.shape[1] - 260) // 2
        square = Image.fromarray(pixels[:, left : left + 260]).resize((256, 256), Image.Resampling.LANCZOS)
        np.testing.assert_array_equal(dataset[index], np.asarray(square).transpose(2, 0, 1))


def test_a_prepared_set_is_made_smaller(pictures: Path, tmp_path: Path, make_set: Make) -> None:
    large = make_set(pictures, tmp_path / "large", 16, crop="pad", alpha="black")
    small = make_set(tmp_path / "large", tmp_path / "small", 8, 4, encoding="webp")
    recipe = small.header.recipe
    assert (recipe.crop, recipe.alpha, recipe.resized_from, recipe.encoding) == ("pad", "black", 16, "webp")
    assert small.header.label_names == ["cats", "dogs"] and len(small) == len(large) == 14 - 2
    for index in range(12):
        assert small.info(index)["name"] == large.info(index)["name"] and small.label(index) == large.label(index)
        picture = Image.fromarray(large[index].transpose(1, 2, 0)).resize((8, 8), Image.Resampling.LANCZOS)
        np.testing.assert_array_equal(small[index], np.asarray(picture).transpose(2, 0, 1))
    fails(make_set, tmp_path / "large", tmp_path, f"{tmp_path / 'large'}: holds at most 16 px, got --resolution 32", 32)
    fails(make_set, tmp_path / "large", tmp_path, f"{tmp_path / 'large'}: its images are cropped already (pad)", crop="none")


def test_avatars_are_those_of_the_procedural_set(tmp_path: Path, make_set: Make) -> None:
    dataset = make_set("avatars", tmp_path / "set", 64, 32, num_images=20, seed=5)
    for resolution in (32, 64):
        original = AvatarDataset(resolution, 20, 5)
        stored = LmdbDataset(tmp_path / "set", resolution)
        np.testing.assert_array_equal([*stored], [*original])
    assert len(dataset) == 20
    assert dataset.info(7)["attributes"] == json.loads(json.dumps(AvatarDataset(32, 20, 5).attributes(7).__dict__))
    assert dataset.header.attributes["hair"] == "str" and dataset.header.attributes["has_glasses"] == "bool"
    fails(make_set, "avatars", tmp_path, "--resolution of avatars must be in (32, 64, 128, 256), got 512", 512)


def test_labels_and_attributes_from_tables(pictures: Path, tmp_path: Path, make_set: Make) -> None:
    (pictures / "dataset.json").write_text(json.dumps({"labels": [["cats/0.jpg", 2], ["dogs/6.png", 0], ["gone.png", 1]]}))
    dataset = make_set(pictures, tmp_path / "numbers", 8)
    assert dataset.header.label_names == ["0", "1", "2"]
    assert [dataset.label(i) for i in (0, 1, 11)] == [2, None, 0]
    assert dataset.report()["table_rows_without_picture"] == 1

    (pictures / "dataset.json").write_text(json.dumps({"cats/0.jpg": {"ears": 2, "size": 1.5}, "cats/1.jpg": {"size": 2}}))
    dataset = make_set(pictures, tmp_path / "attributes", 8)
    assert dataset.header.attributes == {"ears": "int", "size": "float"}
    assert dataset.info(0)["attributes"] == {"ears": 2, "size": 1.5} and dataset.info(5)["attributes"] is None
    assert dataset.header.label_names is None or dataset.header.label_names == ["cats", "dogs"]

    (pictures / "dataset.json").unlink()
    shutil.move(pictures, tmp_path / "inner")
    (tmp_path / "outer").mkdir()
    shutil.move(tmp_path / "inner", tmp_path / "outer" / "inner")
    (tmp_path / "outer" / "list.csv").write_text("image,label,age,note\ncats/0.jpg,tom,3,\ncats/1.jpg,kit,,shy\n")
    for source in (tmp_path / "outer", write_zip(tmp_path / "outer", tmp_path / "o.zip")):
        dataset = make_set(source, tmp_path / f"csv {source.suffix}", 8)
        assert dataset.header.label_names == ["kit", "tom"]
        assert dataset.header.attributes == {"age": "int", "note": "str"}
        assert dataset.label(0) == 1 and dataset.info(0)["attributes"] == {"age": 3, "note": None}
        assert dataset.info(1)["attributes"] == {"age": None, "note": "shy"} and dataset.label(2) is None
    plain = make_set(tmp_path / "outer", tmp_path / "plain", 8, attributes="none", labels="none")
    assert plain.header.label_names is None and plain.header.attributes == {}
    given = make_set(tmp_path / "outer", tmp_path / "given", 8, attributes=str(tmp_path / "outer" / "list.csv"))
    assert given.header.content_hash == dataset.header.content_hash


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("dataset.json", "{", "dataset.json: not a readable JSON file"),
        ("dataset.json", '{"labels": 5}', "dataset.json: labels must be a list of [file, label], got int"),
        ("dataset.json", "[" * 100_000, "dataset.json: not a readable JSON file"),
        ("a.csv", "file,age\nx," + "y" * 200_000, "a.csv: not a readable CSV file"),
        ("dataset.json", "[1]", 'dataset.json: must be {"labels": [[file, label], ...]} or'),
        ("dataset.json", '{"labels": [["x", -1]]}', "dataset.json: labels[0] must be [file, number from 0 or list], got"),
        ("dataset.json", '{"labels": [["x.png", 1]]}', "dataset.json: none of its rows names a picture of the source; it says"),
        ("a.csv", "file\n", "a.csv: must have a line of column names, the file's first, and a line a file"),
        ("a.csv", "file,age\nx.png,1,2\n", "a.csv: line 2 has 3 cells, the first has 2"),
        ("a.csv", "file,age\nx.png,1\n", "a.csv: none of its rows names a picture of the source; it says 'x.png', the source"),
    ],
)
def test_wrong_tables(pictures: Path, tmp_path: Path, make_set: Make, name: str, text: str, message: str) -> None:
    (pictures / name).write_text(text)
    fails(make_set, pictures, tmp_path, message)
    if name == "a.csv":
        (pictures / "b.csv").write_text(text)
        fails(make_set, pictures, tmp_path, f"folder {pictures}: more than one attribute table (a.csv, b.csv); name it with")
    fails(make_set, pictures, tmp_path, f"{pictures / 'no.csv'}: cannot read", attributes=str(pictures / "no.csv"))


def test_wrong_sources(tmp_path: Path, make_set: Make, pictures: Path) -> None:
    fails(make_set, tmp_path / "nowhere", tmp_path, f"{tmp_path / 'nowhere'}: no such file or folder; a source is")
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    fails(make_set, text, tmp_path, f"{text}: neither a folder nor a zip, tar or LMDB file")
    (tmp_path / "empty").mkdir()
    fails(make_set, tmp_path / "empty", tmp_path, f"folder {tmp_path / 'empty'}: no pictures found; looked for .png")
    other = write_lmdb(tmp_path / "caffe", {b"1": b"\x08\x03\x10datum", b"2": b"\x08\x03"})
    fails(make_set, other, tmp_path, f"{other}: an LMDB of another format, its values are no picture files (the first begins")
    (tmp_path / "bad.lmdb").mkdir()
    (tmp_path / "bad.lmdb" / "data.mdb").write_bytes(b"\1" * 20_000)
    fails(make_set, tmp_path / "bad.lmdb", tmp_path, f"{tmp_path / 'bad.lmdb'}: not a readable LMDB (")
    (tmp_path / "short.lmdb").mkdir()
    source = write_lmdb(tmp_path / "long", {b"%d" % i: jpeg(np.zeros((8, 8, 3), np.uint8)) * 20 for i in range(50)})
    (tmp_path / "short.lmdb" / "data.mdb").write_bytes((source / "data.mdb").read_bytes()[:40_960])
    fails(make_set, tmp_path / "short.lmdb", tmp_path, f"{tmp_path / 'short.lmdb' / 'data.mdb'}: truncated, 40960 bytes where")
    unusable = tmp_path / "unusable"
    unusable.mkdir()
    (unusable / "x.png").write_bytes(b"")
    fails(make_set, unusable, tmp_path, f"folder {unusable}: none of its 1 pictures is usable; the first, x.png: empty file")
    fails(
        make_set,
        pictures,
        tmp_path,
        f"folder {pictures}: none of its 14 pictures is usable; the first, cats/0.jpg: is 24x20",
        99,
    )


@pytest.mark.parametrize("cut", [0.2, 0.9, 0.999])
def test_truncated_archives(pictures: Path, tmp_path: Path, make_set: Make, cut: float) -> None:
    archive = write_zip(pictures, tmp_path / "z.zip")
    archive.write_bytes(archive.read_bytes()[: int(archive.stat().st_size * cut)])
    remedy = "copy or download it again"
    fails(make_set, archive, tmp_path, f"{archive}: not a readable zip file (File is not a zip file); {remedy}")
    tar = write_tar(pictures, tmp_path / "t.tar")
    packed = tmp_path / "t.tar.gz"
    packed.write_bytes(gzip.compress(tar.read_bytes()))
    packed.write_bytes(packed.read_bytes()[: int(packed.stat().st_size * cut)])
    fails(make_set, packed, tmp_path, f"{packed}: not a readable compressed tar file (")
    if cut < 0.9:  # later there is nothing but the end marker
        tar.write_bytes(tar.read_bytes()[: int(tar.stat().st_size * cut)])
        fails(make_set, tar, tmp_path, f"{tar}: not a readable tar file (")


def test_damaged_and_odd_zip_members(pictures: Path, tmp_path: Path, make_set: Make) -> None:
    archive = write_zip(pictures, tmp_path / "z.zip", zipfile.ZIP_STORED)
    data = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as members:
        for name, at in (("cats/0.jpg", 100), ("cats/1.jpg", 0)):
            data[members.getinfo(name).header_offset + at] ^= 0xFF
    archive.write_bytes(bytes(data))
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_BZIP2) as members:
        members.write(pictures / "dogs" / "0.png", "dogs/9.png")
    dataset = make_set(archive, tmp_path / "set", 8)
    assert "dogs/9.png" in [dataset.info(i)["name"] for i in range(len(dataset))]
    reasons = {entry["name"]: entry["reason"] for entry in dataset.skipped()}
    assert reasons.pop("cats/0.jpg") == "Bad CRC-32 for file 'cats/0.jpg'"
    assert reasons.pop("cats/1.jpg") == "Bad magic number for file header"
    assert set(reasons) == {"cats/3.jpg", "dogs/5.png"}


def test_members_that_lead_nowhere_are_broken_pictures(tmp_path: Path, make_set: Make, noise: Noise) -> None:
    """Zip64 fields of any value: beyond the file, beyond what a seek takes, and with the shift beyond 64 bits."""
    archive = tmp_path / "z.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for number in range(5):
            buffer = io.BytesIO()
            Image.fromarray(noise(16, 16, number)).save(buffer, "PNG")
            target.writestr(f"{number}.png", buffer.getvalue())
    data = bytearray(archive.read_bytes())
    for name, place, value in ((b"1", 2, 2**31), (b"2", 2, 2**63), (b"3", 2, 2**64 - 1), (b"4", 1, 2**62)):
        at = data.index(b"PK\1\2")
        while data[at + 46 : at + 47] != name:
            at = data.index(b"PK\1\2", at + 4)
        # Make room for a zip64 field behind the name, which the size of the list must say.
        struct.pack_into("<H", data, at + 30, 12)
        struct.pack_into("<L", data, at + (42 if place == 2 else 20), 0xFFFFFFFF)
        data[at + 46 + 5 : at + 46 + 5] = struct.pack("<2HQ", 1, 8, value)
        end = data.rindex(b"PK\5\6")
        struct.pack_into("<L", data, end + 12, struct.unpack_from("<L", data, end + 12)[0] + 12)
    archive.write_bytes(b"shift" + data)
    dataset = make_set(archive, tmp_path / "set", 16, num_workers=1)
    assert [dataset.info(i)["name"] for i in range(len(dataset))] == ["0.png"]
    reasons = {entry["name"]: entry["reason"] for entry in dataset.skipped()}
    names = ("1.png", "2.png", "3.png", "4.png")
    assert reasons == dict.fromkeys(names, "a damaged zip member (it lies beyond the end of the file)")


def test_a_member_that_unpacks_to_more_than_it_claims(tmp_path: Path, make_set: Make, noise: Noise) -> None:
    archive = tmp_path / "z.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("0.png", bytes(1_000_000))
        Image.fromarray(noise(16, 16)).save(tmp_path / "1.png")
        target.write(tmp_path / "1.png", "1.png")
    data = bytearray(archive.read_bytes())
    struct.pack_into("<L", data, data.index(b"PK\1\2") + 24, 50)
    archive.write_bytes(data)
    dataset = make_set(archive, tmp_path / "set", 16, num_workers=1)
    assert [entry["reason"] for entry in dataset.skipped()] == ["Bad CRC-32 for file '0.png'"]


def test_archives_that_make_their_parsers_raise(tmp_path: Path, make_set: Make) -> None:
    archive = tmp_path / "z.zip"
    with zipfile.ZipFile(archive, "w") as target:
        target.writestr("ab.png", b"x")
    data = bytearray(archive.read_bytes())
    at = data.index(b"PK\1\2")
    struct.pack_into("<H", data, at + 8, 0x800)  # a name in UTF-8, which it is not
    data[at + 46] = 0xFF
    archive.write_bytes(data)
    fails(make_set, archive, tmp_path, f"{archive}: not a readable zip file ('utf-8' codec can't decode byte 0xff")
    with zipfile.ZipFile(archive, "w") as target:
        target.writestr("a.png", b"x")
        target.writestr("dataset.json", json.dumps({"labels": []}))
    data = bytearray(archive.read_bytes())
    data[data.index(b'{"labels')] ^= 1
    archive.write_bytes(data)
    fails(make_set, archive, tmp_path, f"zip file {archive}: dataset.json: cannot be read (Bad CRC-32")
    for size, sparse in ((b"\x80" + b"\x7f" * 11, False), (b"\xff" * 12, False), (b"", True)):
        tar = tmp_path / "t.tar"
        with tarfile.open(tar, "w", format=tarfile.PAX_FORMAT) as target:
            member = tarfile.TarInfo("a.png")
            member.pax_headers = {"GNU.sparse.map": "a"} if sparse else {}
            target.addfile(member)
        if size:
            data = bytearray(tar.read_bytes())
            data[124:136] = size
            data[148:156] = b" " * 8
            data[148:156] = b"%06o\0 " % sum(data[:512])
            tar.write_bytes(data)
        with pytest.raises(InputError) as caught:
            make_set(tar, tmp_path / "refused", 8, num_workers=1)
        assert str(tar) in str(caught.value) and "\n" not in str(caught.value)


def test_bombs_in_archives_are_left_out(tmp_path: Path, make_set: Make, noise: Noise, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousandth of its size when packed: what a member unpacks to is bounded, whatever it claims."""
    monkeypatch.setattr("sarigan.files.picture.MAX_FILE_BYTES", 100_000)
    root = tmp_path / "bombs"
    root.mkdir()
    Image.fromarray(noise(16, 16)).save(root / "0.png")
    (root / "1.png").write_bytes(bytes(1_000_000))
    reason = "1,000,000 bytes, perhaps a decompression bomb; at most 100,000 are read"
    for source in (root, write_zip(root, tmp_path / "z.zip"), write_tar(root, tmp_path / "t.tar")):
        dataset = make_set(source, tmp_path / f"set of {source.name}", 16)
        assert len(dataset) == 1 and [entry["reason"] for entry in dataset.skipped()] == [reason]


def test_linked_folders_are_followed(pictures: Path, tmp_path: Path, make_set: Make) -> None:
    outside = tmp_path / "outside"
    shutil.move(pictures / "dogs", outside)
    os.symlink(outside, pictures / "dogs")
    os.symlink(pictures, outside / "up")
    dataset = make_set(pictures, tmp_path / "set", 8)
    assert len(dataset) == 12 and dataset.header.label_names == ["cats", "dogs"]


def test_zip_members_match_the_standard_library(tmp_path: Path) -> None:
    """Names in UTF-8 and cp437, zip64 fields, a comment, and bytes in front of the archive."""
    archive = tmp_path / "odd.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        target.comment = b"PK and a comment"
        for number, name in enumerate(["plain.png", "Käfer/日本.png", "twice.png", "empty.png"]):
            with target.open(zipfile.ZipInfo(name), "w", force_zip64=number % 2 == 0) as member:
                member.write(bytes(number * 1000))
        with pytest.warns(UserWarning, match="Duplicate"):
            target.writestr("twice.png", b"the second")
    archive.write_bytes(b"#!/bin/sh\nexit\n" + archive.read_bytes())
    source = ZipSource(archive)
    found = {entry.name: source.read(entry.locator) for entry in source.scan()}
    with zipfile.ZipFile(archive) as expected:
        assert found == {name: expected.read(name) for name in expected.namelist()}
    assert found["twice.png"] == b"the second"


def test_links_pipes_and_hidden_files(tmp_path: Path, make_set: Make, noise: Noise) -> None:
    root = tmp_path / "odd"
    (root / ".hidden").mkdir(parents=True)
    (root / "__MACOSX").mkdir()
    Image.fromarray(noise(8, 8)).save(root / "b.png")
    for hidden in (root / ".hidden" / "x.png", root / "__MACOSX" / "b.png", root / ".b.png"):
        shutil.copy(root / "b.png", hidden)
    os.symlink("b.png", root / "link.png")
    os.symlink("nothing", root / "dangling.png")
    os.mkfifo(root / "pipe.png")
    shutil.copy(root / "b.png", os.fsencode(root) + b"/\xff\xfe.png")
    (root / "Grüße.png").write_bytes((root / "b.png").read_bytes())
    dataset = make_set(root, tmp_path / "set", 8)
    assert [dataset.info(i)["name"] for i in range(len(dataset))] == ["Grüße.png", "b.png", "link.png", "\\xff\\xfe.png"]
    assert {e["name"]: e["reason"] for e in dataset.skipped()} == {
        "dangling.png": "a link to nothing",
        "pipe.png": "not a regular file",
    }


def test_real_cats(real_data: Path, tmp_path: Path, make_set: Make) -> None:
    path = real_data / "cats128.zip"
    if not path.is_file():
        pytest.skip(f"no {path}")
    dataset = make_set(path, tmp_path / "cats", 128, 64, num_images=60)
    assert len(dataset) == 60
    with zipfile.ZipFile(path) as archive:
        for index in range(0, 60, 7):
            with Image.open(io.BytesIO(archive.read(dataset.info(index)["name"]))) as picture:
                np.testing.assert_array_equal(dataset[index], np.asarray(picture).transpose(2, 0, 1))
                half = picture.resize((64, 64), Image.Resampling.LANCZOS)
            np.testing.assert_array_equal(LmdbDataset(tmp_path / "cats", 64)[index], np.asarray(half).transpose(2, 0, 1))
