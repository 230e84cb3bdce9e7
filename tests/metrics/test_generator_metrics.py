"""Metrics of a generator as an evaluation offers them: the numbers of the functions behind them, under the right names."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from sarigan.errors import InputError
from sarigan.metrics.evaluation import Evaluation, EvaluationConfig
from sarigan.metrics.evaluator import evaluate
from sarigan.metrics.group_quality import group_quality
from sarigan.metrics.group_stability import group_stability
from sarigan.metrics.information import InformationConfig, information
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


def test_information_of_both_halves(state: TrainingState) -> None:
    report = evaluate(evaluation(state, discriminator=state.discriminator), ["information"])
    expected = information(state.generator, state.discriminator, "w", InformationConfig(40, 3)).halves
    assert report.values() == {f"information_r2_{name}": half.r_squared for name, half in expected.items()}
    assert set(expected) == {"all", "h", "z"}


def test_groups_and_their_stability(state: TrainingState) -> None:
    options = {"premise_images": 8, "stability_checkpoint": "other"}
    report = evaluate(evaluation(state, arguments=options, other_generator=state.generator), ["groups"])
    layers = group_quality(state.generator, seed=3)
    values = report.values()
    assert values["groups_separation"] == pytest.approx(sum(q.separation.value for q in layers.values()) / len(layers))
    assert values["groups_stability"] == 1 == group_stability(state.generator, state.generator)["8x8.up"].adjusted_rand_index
    assert set(report.results[0].details) == set(layers)
    json.dumps(report.to_dict(), allow_nan=False)


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
