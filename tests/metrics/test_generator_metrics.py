"""Metrics of a generator as an evaluation offers them: the numbers of the functions behind them, under the right names."""

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from sarigan.errors import InputError
from sarigan.metrics import generator_metrics
from sarigan.metrics.evaluation import Evaluation, EvaluationConfig
from sarigan.metrics.evaluator import evaluate
from sarigan.metrics.group_premise import PremiseConfig, premise_test
from sarigan.metrics.group_quality import energy_share, group_quality
from sarigan.metrics.group_stability import group_stability
from sarigan.metrics.information import InformationConfig, information
from sarigan.metrics.linear_separability import SeparabilityConfig, linear_separability
from sarigan.metrics.perceptual_path_length import PathLengthConfig, perceptual_path_length
from sarigan.training.state import TrainingState

CONFIG = EvaluationConfig(num_images=40, batch_size=8, seed=3)


class PixelDistance:
    """Mean squared difference of pixels."""

    name, suffix, sha256 = "pixels", "_pixels", "0" * 64

    def __call__(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a - b).square().flatten(start_dim=1).mean(dim=1)


@pytest.fixture(scope="module")
def state(tiny_config: Callable, tiny_state: Callable) -> TrainingState:
    return tiny_state(tiny_config())


def evaluation(state: TrainingState, **options: Any) -> Evaluation:
    made = Evaluation(CONFIG, torch.device("cpu"), generator=state.generator.eval(), **options)
    made.__dict__["perceptual_distance"] = PixelDistance()
    return made


def test_path_length_by_the_paths_asked_for(state: TrainingState) -> None:
    arguments = {"ppl_paths": "w_full,z_end", "ppl_samples": 12}
    report = evaluate(evaluation(state, arguments=arguments), ["ppl"])
    assert list(report.values()) == ["ppl_w_full_pixels", "ppl_z_end_pixels"]
    config = PathLengthConfig("w", "full", 12, batch_size=4, seed=3)
    expected = perceptual_path_length(state.generator, PixelDistance(), config)
    assert report.results[0].value == pytest.approx(expected.value, rel=1e-9)
    assert report.results[0].network == "pixels"


def test_path_length_of_the_middle_of_the_picture(state: TrainingState) -> None:
    """--ppl-face-crop: the distance sees 4x4 pixels of 8x8, and the protocol says so."""
    arguments = {"ppl_paths": "w_end", "ppl_samples": 12}
    whole = evaluate(evaluation(state, arguments=arguments), ["ppl"]).results[0]
    crop = evaluate(evaluation(state, arguments={**arguments, "ppl_face_crop": True}), ["ppl"]).results[0]
    config = PathLengthConfig("w", "end", 12, face_crop=True, batch_size=4, seed=3)
    expected = perceptual_path_length(state.generator, PixelDistance(), config)
    assert crop.value == pytest.approx(expected.value, rel=1e-9) and crop.value != pytest.approx(whole.value, rel=1e-3)
    assert crop.protocol.endswith("12 of 12 pairs kept, middle of the picture") and "middle" not in whole.protocol


class Planes:
    """Two attributes of an image: on which side of a plane its pixels lie."""

    names = ["a", "b"]

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(start_dim=1) @ torch.randn(192, 2, generator=torch.Generator().manual_seed(0))


def test_separability_beside_held_out_and_shuffled(state: TrainingState, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the six numbers is the one that its name says."""
    monkeypatch.setattr(generator_metrics, "open_attribute_classifiers", lambda sources, device: [Planes()])
    monkeypatch.setattr(generator_metrics, "classifier_hashes", lambda sources: dict.fromkeys(sources, "1" * 64))
    report = evaluate(evaluation(state, arguments={"separability_images": 640}), ["linear_separability"])
    config = SeparabilityConfig(640, batch_size=8, seed=3)
    expected = linear_separability(state.generator, [Planes()], config)
    scores = {}
    for space, found in expected.items():
        for kind, suffix in (("conditional", ""), ("held_out", "_held_out"), ("shuffled", "_shuffled")):
            scores[f"linear_separability_{space}{suffix}"] = math.exp(sum(getattr(a, kind) for a in found.attributes))
    assert report.values() == pytest.approx(scores, rel=1e-9)
    assert len({round(score, 6) for score in scores.values()}) == 6
    details = {result.name: result.details for result in report.results}
    assert details["linear_separability_z"]["scores"]["held_out"] == pytest.approx(scores["linear_separability_z_held_out"])
    for suffix in ("held_out", "shuffled"):  # exp of the mean over two attributes
        found = details[f"linear_separability_w_{suffix}"]["per_attribute"]
        assert found == pytest.approx(scores[f"linear_separability_w_{suffix}"] ** 0.5)


def test_information_of_both_halves(state: TrainingState) -> None:
    report = evaluate(evaluation(state, discriminator=state.discriminator), ["information"])
    expected = information(state.generator, state.discriminator, "w", InformationConfig(40, 3)).halves
    assert report.values() == {f"information_r2_{name}": half.r_squared for name, half in expected.items()}
    assert all(result.higher_is_better for result in report.results)
    assert set(expected) == {"all", "h", "z"}


def test_groups_and_their_stability(state: TrainingState) -> None:
    options = {"premise_images": 8, "stability_checkpoint": "other"}
    report = evaluate(evaluation(state, arguments=options, other_generator=state.generator), ["groups"])
    layers = group_quality(state.generator, seed=3)
    values = report.values()
    assert values["groups_separation"] == pytest.approx(sum(q.separation.value for q in layers.values()) / len(layers))
    assert values["groups_stability"] == 1 == group_stability(state.generator, state.generator)["8x8.up"].adjusted_rand_index
    assert set(report.results[0].details) == set(layers) == set(report.results[-1].details)
    assert report.results[-1].higher_is_better and "with other, mean over 2 layers" in report.results[-1].protocol
    json.dumps(report.to_dict(), allow_nan=False)


def test_groups_by_name(state: TrainingState) -> None:
    """Each number is the mean over layers of the score that its name says, not of its chance or of another score."""
    report = evaluate(evaluation(state, arguments={"premise_images": 24}), ["groups"])
    quality = group_quality(state.generator, seed=3)
    premise = premise_test(state.generator, PremiseConfig(24, batch_size=8, seed=3))
    energy = energy_share(state.generator, seed=3)
    scores = {
        "groups_separation": [q.separation.value for q in quality.values()],
        "groups_silhouette": [q.silhouette.value for q in quality.values()],
        "groups_size_entropy": [q.size_entropy for q in quality.values()],
        "groups_premise": [p.value for p in premise.values()],
    }
    assert report.values() == pytest.approx({name: sum(found) / len(found) for name, found in scores.items()}, rel=1e-9)
    wrong = [p.chance for p in premise.values()]
    assert abs(sum(wrong) - sum(scores["groups_premise"])) > 1e-3
    details = report.results[0].details["8x8.up"]
    assert details["premise"]["value"] == pytest.approx(premise["8x8.up"].value)
    assert details["energy"]["mean"] == pytest.approx(energy["8x8.up"].mean)
    higher = {result.name for result in report.results if result.higher_is_better}
    assert higher == {"groups_separation", "groups_silhouette", "groups_premise"}


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("ppl", {"ppl_paths": "w_middle"}, "--ppl-paths must be of z_full, w_full, z_end, w_end, got 'w_middle'"),
        ("information", {}, "information needs a checkpoint with a Q head"),
        ("linear_separability", {"separability_images": 64}, "64 images are too few for"),
        ("linear_separability", {"attribute_classifiers": "nowhere.onnx"}, "nowhere.onnx"),
    ],
)
def test_what_would_fail_is_one_line_before_any_work(state: TrainingState, name: str, arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message.replace(".", r"\.")) as error:
        evaluate(evaluation(state, arguments=arguments), [name])
    assert "\n" not in str(error.value)


def test_groups_of_a_generator_without(tiny_config: Callable, tiny_state: Callable) -> None:
    plain = tiny_state(tiny_config("generator.grouping.kind=none", "objective.information_weight=0"))
    with pytest.raises(InputError, match="has none"):
        evaluate(evaluation(plain), ["groups"])
