"""Metrics of a generator as an evaluation offers them: the numbers of the functions behind them, under the right names."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from sarigan.errors import InputError
from sarigan.metrics import evaluation as evaluation_module
from sarigan.metrics import linear_separability as linear_separability_module
from sarigan.metrics.catalogue import METRICS, Report, evaluate, full_precision
from sarigan.metrics.config import EvaluationConfig, tell_rounding
from sarigan.metrics.evaluation import Evaluation
from sarigan.metrics.groups.metric import group_stability
from sarigan.metrics.groups.premise import PremiseConfig, premise_test
from sarigan.metrics.groups.quality import energy_share, group_quality
from sarigan.metrics.information import InformationConfig, information
from sarigan.metrics.linear_separability import SeparabilityConfig, linear_separability
from sarigan.metrics.perceptual_path_length import PathLengthConfig, perceptual_path_length
from sarigan.models.feature_networks.feature_network import FeatureNetwork
from sarigan.models.feature_networks.networks_by_name import NETWORKS
from sarigan.models.generator import Generator
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
    made = Evaluation(CONFIG, torch.device("cpu"), generator=state.system.generator.eval(), **options)
    made.__dict__["perceptual_distance"] = PixelDistance()
    return made


class Arithmetic(TorchFunctionMode):
    """What products and convolutions may do with float32, each time that one is asked for."""

    # What TF32 and autocast act on, under the names by which modules call it.
    FUNCTIONS = (F.conv2d, F.conv_transpose2d, F.linear, torch.addmm, torch.matmul, torch.Tensor.matmul,
                 torch.Tensor.__matmul__, torch.cdist, torch.einsum)  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[bool, bool, str, bool]] = []

    @staticmethod
    def state() -> tuple[bool, bool, str, bool]:
        tf32 = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
        return *tf32, torch.get_float32_matmul_precision(), torch.is_autocast_enabled("cpu")

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        if function in self.FUNCTIONS:
            self.seen.append(self.state())
        return function(*arguments, **(options or {}))


class Brightness:
    """One attribute: brighter than the images beside it."""

    names = ["bright"]

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        brightness = images.flatten(start_dim=1).mean(dim=1, keepdim=True)
        return brightness - brightness.median()


EXACT = (False, False, "highest", False)


@pytest.fixture
def careless() -> Iterator[tuple[bool, bool, str, bool]]:
    """The surroundings of an evaluation allow TF32 and autocast."""
    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    with torch.autocast("cpu", torch.bfloat16):
        yield Arithmetic.state()
    torch.backends.cudnn.allow_tf32 = before[0]
    torch.set_float32_matmul_precision(before[1])


# Those of classes and of layouts need a generator that has some: test_class_metrics.py, test_layout_fidelity.py.
@pytest.mark.parametrize("name", [name for name in METRICS if not name.startswith(("class_", "layout_", "style_"))])
def test_every_metric_is_gathered_and_computed_in_full_precision(
    name: str, state: TrainingState, small_network: FeatureNetwork, smooth_images: Callable, as_dataset: type,
    careless: tuple[bool, bool, str, bool], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Without it, the path length of a GPU's default TF32 is 40 times the true one."""
    monkeypatch.setattr(SeparabilityConfig, "required_images", lambda self, num_dimensions: 40)
    networks = dict.fromkeys(NETWORKS, small_network)
    arguments = {"ppl_samples": 4, "premise_images": 4, "attribute_classifiers": "avatars"}
    made = evaluation(
        state, discriminator=state.system.discriminator, data=as_dataset(smooth_images(12, 8)), networks=networks,
        arguments=arguments, classifiers={"avatars": Brightness()},
    )  # fmt: skip
    with Arithmetic() as arithmetic:
        values = evaluate(made, [name]).values()
    assert len(values) > 0 and len(arithmetic.seen) > 0 and set(arithmetic.seen) == {EXACT}
    assert Arithmetic.state() == careless


def test_full_precision_ends_with_its_block(careless: tuple[bool, bool, str, bool]) -> None:
    with pytest.raises(ZeroDivisionError), full_precision(torch.device("cpu")):
        assert Arithmetic.state() == EXACT != careless
        raise ZeroDivisionError
    assert Arithmetic.state() == careless


def test_path_length_by_the_paths_asked_for(state: TrainingState) -> None:
    arguments = {"ppl_paths": "w_full,z_end", "ppl_samples": 12}
    report = evaluate(evaluation(state, arguments=arguments), ["ppl"])
    assert list(report.values()) == ["ppl_w_full_pixels", "ppl_z_end_pixels"]
    config = PathLengthConfig("w", "full", 12, batch_size=4, seed=3)
    expected = perceptual_path_length(state.system.generator, PixelDistance(), config)
    assert report.results[0].value == pytest.approx(expected.value, rel=1e-9)
    assert report.results[0].network == "pixels"


def test_the_distance_of_a_path_length(state: TrainingState, monkeypatch: pytest.MonkeyPatch) -> None:
    """--ppl-distance, else the default; its name is part of the result's."""
    asked = []
    monkeypatch.setattr(
        "sarigan.metrics.evaluation.open_perceptual_distance", lambda device, name: asked.append(name) or PixelDistance()
    )
    for option in ({}, {"ppl_distance": "stlpips_vgg"}):
        arguments = {"ppl_paths": "w_end", "ppl_samples": 12, **option}
        generator = state.system.generator.eval()
        report = evaluate(Evaluation(CONFIG, torch.device("cpu"), generator=generator, arguments=arguments), ["ppl"])
        assert list(report.values()) == ["ppl_w_end_pixels"]
    assert asked == ["auto", "stlpips_vgg"]


def test_path_length_of_the_middle_of_the_picture(state: TrainingState) -> None:
    """--ppl-face-crop: the distance sees 4x4 pixels of 8x8, and the protocol says so."""
    arguments = {"ppl_paths": "w_end", "ppl_samples": 12}
    whole = evaluate(evaluation(state, arguments=arguments), ["ppl"]).results[0]
    crop = evaluate(evaluation(state, arguments={**arguments, "ppl_face_crop": True}), ["ppl"]).results[0]
    config = PathLengthConfig("w", "end", 12, face_crop=True, batch_size=4, seed=3)
    expected = perceptual_path_length(state.system.generator, PixelDistance(), config)
    assert crop.value == pytest.approx(expected.value, rel=1e-9) and crop.value != pytest.approx(whole.value, rel=1e-3)
    assert crop.protocol.endswith("12 of 12 pairs kept, middle of the picture") and "middle" not in whole.protocol


class Planes:
    """Two attributes of an image: on which side of a plane its pixels lie."""

    names = ["a", "b"]

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(start_dim=1) @ torch.randn(192, 2, generator=torch.Generator().manual_seed(0))


def test_separability_beside_held_out_and_shuffled(state: TrainingState, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the six numbers is the one that its name says."""
    monkeypatch.setattr(evaluation_module, "open_attribute_classifiers", lambda sources, device: [Planes()])
    monkeypatch.setattr(linear_separability_module, "classifier_hashes", lambda sources: dict.fromkeys(sources, "1" * 64))
    report = evaluate(
        evaluation(state, arguments={"separability_images": 640, "attribute_classifiers": "avatars"}), ["linear_separability"]
    )
    config = SeparabilityConfig(640, batch_size=8, seed=3)
    expected = linear_separability(state.system.generator, [Planes()], config)
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


def test_information_of_both_halves(state: TrainingState, caplog: pytest.LogCaptureFixture) -> None:
    tell_rounding.cache_clear()
    report = evaluate(evaluation(state, discriminator=state.system.discriminator), ["information"])
    expected = information(state.system.generator, state.system.discriminator, "w", InformationConfig(40, 3)).halves
    assert report.values() == {f"information_r2_{name}": half.r_squared for name, half in expected.items()}
    assert all(result.higher_is_better for result in report.results)
    for result in report.results:  # a Q that has learnt nothing is at 0 and below, not above the -0.7 of shuffled pairs
        assert result.null == 0 and result.protocol.endswith("; 0: predicts the mean")
        assert result.details["r_squared_of_shuffled_pairs"] < 0
    assert set(expected) == {"all", "h", "z"}
    assert "information: takes 64 images where 40 were asked for, whole blocks of 32" in caplog.text


def test_groups_and_their_stability(state: TrainingState) -> None:
    options = {"premise_images": 8, "stability_checkpoint": "other"}
    report = evaluate(evaluation(state, arguments=options, other_generator=state.system.generator), ["groups"])
    layers = group_quality(state.system.generator, seed=3)
    values = report.values()
    assert values["groups_separation"] == pytest.approx(sum(q.separation.score for q in layers.values()) / len(layers))
    with_itself = group_stability(state.system.generator, state.system.generator)["8x8.up"]
    assert values["groups_stability"] == 1 == with_itself.adjusted_rand_index
    assert set(report.results[0].details) == set(layers) == set(report.results[-1].details)
    assert report.results[-1].higher_is_better and "with other, mean over 2 layers" in report.results[-1].protocol
    json.dumps(report.to_dict(), allow_nan=False)


def test_groups_by_name(state: TrainingState) -> None:
    """Each number is the mean over layers of the score that its name says, not of its chance or of another score."""
    report = evaluate(evaluation(state, arguments={"premise_images": 24}), ["groups"])
    quality = group_quality(state.system.generator, seed=3)
    premise = premise_test(state.system.generator, PremiseConfig(24, batch_size=8, seed=3))
    energy = energy_share(state.system.generator, seed=3)
    scores = {
        "groups_separation": [q.separation.score for q in quality.values()],
        "groups_silhouette": [q.silhouette.score for q in quality.values()],
        "groups_size_entropy": [q.size_entropy for q in quality.values()],
        "groups_premise": [p.score for p in premise.values()],
    }
    assert report.values() == pytest.approx({name: sum(found) / len(found) for name, found in scores.items()}, rel=1e-9)
    wrong = [p.null_mean for p in premise.values()]
    assert abs(sum(wrong) - sum(scores["groups_premise"])) > 1e-3
    details = report.results[0].details["8x8.up"]
    assert details["premise"]["score"] == pytest.approx(premise["8x8.up"].score)
    assert details["energy"]["mean"] == pytest.approx(energy["8x8.up"].mean)
    higher = {result.name for result in report.results if result.higher_is_better}
    assert higher == {"groups_separation", "groups_silhouette", "groups_premise"}


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("ppl", {"ppl_paths": "w_middle"}, "--ppl-paths must be of z_full, w_full, z_end, w_end, got 'w_middle'"),
        ("information", {}, "information needs the discriminator's Q head; an export holds the generator alone"),
        ("linear_separability", {"separability_images": 64}, "64 images are too few for"),
        ("linear_separability", {}, "no classifier is known for "),
        ("linear_separability", {"attribute_classifiers": "nowhere.onnx"}, "nowhere.onnx"),
        ("linear_separability", {"attribute_classifiers": "avatars,broken.npz"}, "broken.npz"),
        ("linear_separability", {"attribute_classifiers": "avatars,avatars"}, "attributes need names of their own"),
        ("groups", {"stability_checkpoint": "other"}, "checkpoints of one architecture can be compared"),
    ],
)
def test_what_would_fail_is_one_line_before_any_work(
    state: TrainingState, tiny_config: Callable, tiny_state: Callable, name: str, arguments: dict, message: str,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("broken.npz").write_bytes(b"PK\x03\x04 cut off")
    narrow = tiny_state(tiny_config("generator.channel_max=4")).system.average.module
    other = narrow if "stability_checkpoint" in arguments else None
    made = evaluation(state, arguments=arguments, other_generator=other)
    monkeypatch.setattr(Generator, "synthesize", None)  # no image can be made
    with pytest.raises(InputError, match=message.replace(".", r"\.")) as error:
        evaluate(made, ["ppl", name])
    assert "\n" not in str(error.value)


def test_a_late_failure_leaves_what_is_finished(state: TrainingState) -> None:
    """Of the metrics before, and of the failing metric's own numbers."""

    class Failing(PixelDistance):
        calls = 0

        def __call__(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            if self.calls > 3:  # batches of 4
                raise RuntimeError("out of\norder")
            return super().__call__(a, b)

    made = evaluation(state, discriminator=state.system.discriminator, arguments={"ppl_samples": 12})
    made.__dict__["perceptual_distance"] = Failing()
    kept: list[Report] = []
    with pytest.raises(RuntimeError, match="out of\norder"):
        evaluate(made, ["information", "ppl", "groups"], kept.append)
    first, last = kept
    assert list(first.values()) == ["information_r2_all", "information_r2_h", "information_r2_z"]
    assert first.failure is None and first.to_dict()["missing"] == ["ppl", "groups"]
    assert list(last.values()) == [*first.values(), "ppl_z_full_pixels"]
    assert last.to_dict()["failure"] == "ppl (RuntimeError: out of order)" and last.to_dict()["missing"] == ["ppl", "groups"]
    assert last.table().splitlines()[-2:] == ["failed: ppl (RuntimeError: out of order)", "not computed: ppl, groups"]
    assert all(result["num_images"] == 40 and result["time"] for result in last.to_dict()["results"])


def test_a_first_failure_has_nothing_to_leave(state: TrainingState) -> None:
    made = evaluation(state)
    made.__dict__["perceptual_distance"] = lambda a, b: a.new_full((len(a),), torch.nan)
    kept: list[Report] = []
    with pytest.raises(InputError, match="the distance of sample 0 is not finite"):
        evaluate(made, ["ppl"], kept.append)
    assert kept == []


def test_groups_of_a_generator_without(tiny_config: Callable, tiny_state: Callable) -> None:
    plain = tiny_state(tiny_config("generator.grouping.kind=none", "objective.information_weight=0"))
    with pytest.raises(InputError, match="has none"):
        evaluate(evaluation(plain), ["groups"])
