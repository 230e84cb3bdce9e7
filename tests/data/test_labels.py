"""Classes of images: from every kind of data set to the batch, balanced order, and one line for each wrong input."""

import csv
import json
import re
import zipfile
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sarigan.data.avatars.attributes import CHOICES
from sarigan.data.avatars.dataset import AvatarDataset
from sarigan.data.labels import LabelledDataset, class_shares
from sarigan.data.lmdb.format import Recipe
from sarigan.data.loader import DataConfig, open_dataset, training_batches
from sarigan.data.prepare.job import Options, prepare
from sarigan.data.sampler import BalancedSampler
from sarigan.errors import InputError
from sarigan.metrics.statistics_cache import content_hash

SIZES = {"boot": 3, "coat": 5, "hat": 2}


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """A folder a class below `set/all`, 16x16 images whose grey value is 40 times the class."""
    for label, (name, count) in enumerate(SIZES.items()):
        folder = tmp_path / "set" / "all" / name
        folder.mkdir(parents=True)
        for index in range(count):
            Image.new("RGB", (16, 16), (40 * label,) * 3).save(folder / f"{index}.png")
    return tmp_path / "set"


def labelled(path: Path, labels: str, name: str = "folder", resolution: int = 16) -> LabelledDataset:
    dataset = open_dataset(DataConfig(name=name, path=str(path), labels=labels, num_workers=0), resolution)
    assert isinstance(dataset, LabelledDataset)
    return dataset


def is_consistent(dataset: LabelledDataset, names: list[str]) -> None:
    """The label that comes with an image is that of its grey value."""
    assert dataset.class_names == names and len(dataset) == 10
    for index in range(len(dataset)):
        label = int(dataset.extras(index)["labels"])
        assert dataset[index].max() == dataset[index].min() == 40 * label
    assert dataset.class_counts == [*SIZES.values()]


def test_folders_of_a_folder_and_of_a_zip_file(classes: Path, tmp_path: Path) -> None:
    is_consistent(labelled(classes, "folders"), [*SIZES])
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in classes.rglob("*.png"):
            archive.write(path, path.relative_to(classes).as_posix())
        archive.writestr("dataset.json", json.dumps({"labels": table(classes, shared=True)}))
    is_consistent(labelled(tmp_path / "set.zip", "folders"), [*SIZES])
    is_consistent(labelled(tmp_path / "set.zip", "dataset.json"), ["0", "1", "2"])


def table(classes: Path, shared: bool) -> list[list[object]]:
    """[file, number of its class], with or without the folder that all images share."""
    root = classes if shared else classes / "all"
    names = [path.relative_to(root).as_posix() for path in sorted(classes.rglob("*.png"))]
    return [[name, [*SIZES].index(name.split("/")[-2])] for name in names]


@pytest.mark.parametrize("shared", [False, True])
def test_dataset_json_and_csv(classes: Path, tmp_path: Path, shared: bool) -> None:
    (classes / "dataset.json").write_text(json.dumps({"labels": table(classes, shared)}))
    is_consistent(labelled(classes, "dataset.json"), ["0", "1", "2"])
    with open(tmp_path / "labels.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "width", "label"])
        rows.writerows([name, 16, [*SIZES][int(str(label))]] for name, label in table(classes, shared))
    is_consistent(labelled(classes, str(tmp_path / "labels.csv")), [*SIZES])


def test_a_prepared_set_gives_its_labels_and_its_attributes(classes: Path, tmp_path: Path) -> None:
    prepare(str(classes), tmp_path / "set.lmdb", Recipe((16,)), Options(num_workers=1))
    is_consistent(labelled(tmp_path / "set.lmdb", "label", "lmdb"), [*SIZES])
    prepare("avatars", tmp_path / "avatars.lmdb", Recipe((32,)), Options(num_workers=1, num_images=40))
    dataset = labelled(tmp_path / "avatars.lmdb", "nose", "lmdb", 32)
    truth = [AvatarDataset(32, 40).attributes(index).nose for index in range(40)]
    assert [dataset.class_names[label] for label in dataset.labels] == truth
    with pytest.raises(InputError, match=r"data.labels of this set must be one of .*hair_color.*, got 'label'$"):
        labelled(tmp_path / "avatars.lmdb", "label", "lmdb", 32)


@pytest.mark.parametrize("field", CHOICES)
def test_avatars_give_the_exact_attribute(field: str) -> None:
    found = AvatarDataset(32, 60, seed=-3).class_labels(field)
    assert [found.class_names[number or 0] for number in found.numbers] == [
        getattr(AvatarDataset(32, 60, seed=-3).attributes(index), field) for index in range(60)
    ]


def test_batches_carry_the_labels_of_their_images(classes: Path) -> None:
    for workers in (0, 1):
        for balanced in (False, True):
            config = DataConfig(name="folder", path=str(classes), labels="folders", balanced=balanced, num_workers=workers)
            batches = training_batches(open_dataset(config, 16), config, seed=2, position=0, batch_size=6)
            for batch in islice(batches, 5):
                assert batch.labels is not None and batch.labels.dtype.is_signed and batch.labels.shape == (6,)
                assert (batch.images[:, 0, 0, 0] == 40 * batch.labels).all()
            batches.close()


def test_balanced_order_shows_every_class_once_in_k_positions_and_every_image_once_an_epoch() -> None:
    labels = np.repeat([0, 1, 2], [3, 5, 2])[np.random.default_rng(0).permutation(10)]
    sampler = BalancedSampler(labels, seed=4, flip=True)
    samples = [sampler[position] for position in range(90)]
    assert all(sorted(labels[[image for image, _ in samples[s : s + 3]]]) == [0, 1, 2] for s in range(0, 90, 3))
    assert len({tuple(labels[[image for image, _ in samples[s : s + 3]]]) for s in range(0, 90, 3)}) > 3
    for label, count in enumerate([3, 5, 2]):
        shown = [image for image, _ in samples if labels[image] == label]
        for epoch in range(30 // count):
            assert len({*shown[epoch * count : (epoch + 1) * count]}) == count
    assert 20 < sum(mirrored for _, mirrored in samples) < 70
    again = BalancedSampler(labels, seed=4, flip=True)
    assert [again[position] for position in reversed(range(90))] == samples[::-1]
    assert [BalancedSampler(labels, seed=5, flip=True)[position] for position in range(90)] != samples
    assert max(Counter(image for image, _ in samples).values()) == 15  # of the smaller class


def test_shares_are_those_of_what_training_sees(classes: Path) -> None:
    dataset = labelled(classes, "folders")
    assert class_shares(dataset) == pytest.approx({"boot": 0.3, "coat": 0.5, "hat": 0.2})
    assert class_shares(dataset, balanced=True) == pytest.approx(dict.fromkeys(SIZES, 1 / 3))
    assert class_shares(AvatarDataset(32, 5)) == {}


def test_keys_tell_labels_apart_and_the_hash_of_the_images_does_not(classes: Path) -> None:
    (classes / "dataset.json").write_text(json.dumps({"labels": table(classes, True)}))
    one, other = labelled(classes, "folders"), labelled(classes, "dataset.json")
    assert len({one.content_key, other.content_key, one.images.content_key}) == 3
    assert content_hash(one) == content_hash(other) == content_hash(one.images)
    avatars = open_dataset(DataConfig(labels="nose", num_images=50), 32)
    assert content_hash(avatars) == content_hash(AvatarDataset(32, 50))


def fails(path: Path | None, labels: str, message: str, name: str = "folder", **options: object) -> None:
    with pytest.raises(InputError) as caught:
        config = DataConfig(name=name, path=None if path is None else str(path), labels=labels, **options)
        open_dataset(config, 32 if name == "avatars" else 16)
    assert re.search(message, str(caught.value)), str(caught.value)


def test_missing_labels_and_too_few_images(classes: Path) -> None:
    rows = table(classes, True)
    (classes / "dataset.json").write_text(json.dumps({"labels": rows[2:]}))
    fails(classes, "dataset.json", r"2 of 10 images have no label in data.labels=dataset.json \(the first is all/boot/0.png\)")
    (classes / "dataset.json").write_text(json.dumps({"labels": [[rows[0][0], 1], *[[name, 0] for name, _ in rows[1:]]]}))
    fails(classes, "dataset.json", r"class '1' of data.labels=dataset.json has 1 image; a class needs at least 2$")
    (classes / "dataset.json").write_text(json.dumps({"labels": [[name, 0] for name, _ in rows]}))
    fails(classes, "dataset.json", r"has the class '0' alone; two are needed$")
    (classes / "dataset.json").write_text(json.dumps({"labels": None}))
    fails(classes, "dataset.json", r"dataset.json: holds no classes")
    fails(classes / "all" / "boot", "folders", r"3 of 3 images have no label in data.labels=folders")


def test_sources_that_mean_nothing(classes: Path, tmp_path: Path) -> None:
    fails(classes, "hair_color", r"must be folders, dataset.json or a CSV file, got 'hair_color'$")
    fails(classes, "none.csv", r"none.csv: .*No such file")
    (classes / "x.csv").write_text("file,size\na.png,3\n")
    fails(classes, "x.csv", r"x.csv: holds no classes")
    (classes / "x.csv").unlink()
    fails(None, "colour", r"data.labels of avatars must be one of skin_color, hair, .*, got 'colour'$", "avatars")
    prepare(str(classes), tmp_path / "set.lmdb", Recipe((16,)), Options(num_workers=1, labels="none"))
    fails(tmp_path / "set.lmdb", "label", r"must be null: the set has no labels or attributes, got 'label'$", "lmdb")
    with pytest.raises(InputError, match=r"data.balanced=true needs classes"):
        DataConfig(balanced=True)
