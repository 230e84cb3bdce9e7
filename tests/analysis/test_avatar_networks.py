"""The networks that come with the package, measured anew; their training, files and errors."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from sarigan.analysis.avatar_training import (
    HELD_OUT_SEED,
    AvatarTrainingConfig,
    degrade,
    score_classifier,
    score_segmenter,
    train_avatar_classifier,
)
from sarigan.data.avatars.attributes import BINARY_ATTRIBUTES, binary_labels
from sarigan.data.avatars.dataset import PART_NAMES, AvatarDataset
from sarigan.errors import InputError
from sarigan.models.feature_networks.attribute_classifiers import open_attribute_classifiers
from sarigan.models.feature_networks.avatar_networks import (
    CLASSIFIER_FILE,
    SEGMENTER_FILE,
    load_avatar_classifier,
    load_avatar_segmenter,
    read_record,
    resize_images,
    save_network,
)

FRESH_SEED = 77  # neither trained on nor held out in training


def test_classifier_on_fresh_avatars() -> None:
    classifier = load_avatar_classifier()
    assert classifier.names == list(BINARY_ATTRIBUTES)
    found = score_classifier(classifier, num_images=400, seed=FRESH_SEED)
    record = read_record(CLASSIFIER_FILE)["held_out_64"]
    assert found["mean_accuracy"] >= 0.95 and record["mean_accuracy"] >= 0.95
    assert found["mean_accuracy"] == pytest.approx(record["mean_accuracy"], abs=0.01)
    assert found["mean_balanced_accuracy"] > 0.95 > found["mean_of_commoner_class"] + 0.1
    assert record["seed"] == HELD_OUT_SEED


def test_segmenter_on_fresh_avatars() -> None:
    segmenter = load_avatar_segmenter()
    assert segmenter.names == list(PART_NAMES)
    found, record = score_segmenter(segmenter, num_images=200, seed=FRESH_SEED), read_record(SEGMENTER_FILE)["held_out_64"]
    assert found["mean_iou"] == pytest.approx(record["mean_iou"], abs=0.02)
    assert found["mean_iou"] > 0.7


@pytest.mark.parametrize("resolution", [32, 128])
def test_other_sizes_are_resized(resolution: int) -> None:
    assert score_classifier(load_avatar_classifier(), resolution, 100, FRESH_SEED)["mean_accuracy"] > 0.95
    found = score_segmenter(load_avatar_segmenter(), resolution, 50, FRESH_SEED)
    assert found["pixel_accuracy"] > 0.9


def test_both_bear_mild_degradation() -> None:
    """Avatars with lost detail and noise, as a generator's."""
    torch.manual_seed(0)
    dataset = AvatarDataset(64, 200, FRESH_SEED)
    clean = torch.from_numpy(np.stack([dataset[i] for i in range(200)])).float() / 127.5 - 1
    truth = torch.from_numpy(np.stack([binary_labels(dataset.attributes(i)) for i in range(200)]))
    right = (load_avatar_classifier()(degrade(clean, 1.0)) > 0) == truth
    assert float(right.float().mean()) > 0.92


def test_labels_are_what_is_visible() -> None:
    """By the masks, which labels do not use: glasses are labelled where the mask has some, and so on."""
    dataset = AvatarDataset(64, 300, FRESH_SEED)
    names = list(BINARY_ATTRIBUTES)
    for part, attribute in (("glasses", "glasses"), ("beard", "facial_hair")):
        for index in range(300):
            seen = bool((dataset.mask(index) == PART_NAMES.index(part)).any())
            assert seen == binary_labels(dataset.attributes(index))[names.index(attribute)]


def test_training_writes_what_loading_reads(tmp_path: Path) -> None:
    network, scores = train_avatar_classifier(AvatarTrainingConfig(256, batch_size=32, num_held_out=50))
    save_network(network, tmp_path / "c.npz", "avatar_classifier", {"names": network.names, "widths": network.widths, **scores})
    loaded = open_attribute_classifiers([tmp_path / "c.npz"])[0]
    images = torch.rand(4, 3, 64, 64) * 2 - 1
    torch.testing.assert_close(loaded(images), network(images), rtol=1e-2, atol=2e-2)  # float16 weights
    assert read_record(tmp_path / "c.npz")["held_out_64"]["num_images"] == 50


def test_resizing_is_a_box_average_where_sizes_divide() -> None:
    images = torch.rand(2, 3, 128, 128)
    torch.testing.assert_close(resize_images(images, 64), images.reshape(2, 3, 64, 2, 64, 2).mean(dim=(3, 5)))
    assert resize_images(images, 128) is images


def test_an_onnx_file_as_classifier(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    random = np.random.default_rng(0)
    weight, bias = random.normal(size=(48, 2)).astype(np.float32), random.normal(size=2).astype(np.float32)
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["images"], ["flat"]), helper.make_node("Gemm", ["flat", "w", "b"], ["logits"])],
        "planes",
        [helper.make_tensor_value_info("images", floats, ["N", 3, 4, 4])],
        [helper.make_tensor_value_info("logits", floats, ["N", 2])],
        [onnx.numpy_helper.from_array(weight, "w"), onnx.numpy_helper.from_array(bias, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path = tmp_path / "planes.onnx"
    helper.set_model_props(model, {"attributes": "left, right"})
    onnx.save(model, path)
    (classifier,) = open_attribute_classifiers([path])
    assert classifier.names == ["left", "right"]
    images = torch.rand(5, 3, 8, 8)
    small = images.reshape(5, 3, 4, 2, 4, 2).mean(dim=(3, 5)).flatten(start_dim=1).numpy()
    np.testing.assert_allclose(classifier(images).numpy(), small @ weight + bias, rtol=1e-4, atol=1e-5)

    helper.set_model_props(model, {"attributes": "left, middle, right"})
    onnx.save(model, path)
    with pytest.raises(InputError, match=r"logits of 3 named attributes must have shape \(5, 3\), got \(5, 2\)"):
        open_attribute_classifiers([path])[0](images)


def test_wrong_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file; attribute classifiers are .npz or .onnx files, or avatars"):
        open_attribute_classifiers([tmp_path / "none.npz"])
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(InputError, match="is a .npz or .onnx file, got .txt"):
        open_attribute_classifiers([tmp_path / "a.txt"])
    with pytest.raises(InputError, match="holds an avatar_segmenter, an avatar_classifier was asked for"):
        load_avatar_classifier(SEGMENTER_FILE)
    copy = tmp_path / "copy.npz"
    shutil.copy(CLASSIFIER_FILE, copy)
    with pytest.raises(InputError, match="copy.json: cannot be read .No such file.*; it belongs beside copy.npz"):
        load_avatar_classifier(copy)
    shutil.copy(CLASSIFIER_FILE.with_suffix(".json"), copy.with_suffix(".json"))
    load_avatar_classifier(copy)
    copy.write_bytes(copy.read_bytes()[:-100])
    with pytest.raises(InputError, match="SHA256 is"):
        load_avatar_classifier(copy)
    copy.with_suffix(".json").write_text(json.dumps([]))
    with pytest.raises(InputError, match="copy.json: not the record of a network"):
        load_avatar_classifier(copy)
    with pytest.raises(InputError, match="the seed of the held-out avatars"):
        AvatarTrainingConfig(seed=HELD_OUT_SEED)
