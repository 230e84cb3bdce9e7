"""The evaluator: independence of batch size, what it reports, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch

from sarigan.config import Config
from sarigan.errors import InputError
from sarigan.metrics import feature_statistics
from sarigan.metrics.catalogue import evaluate
from sarigan.metrics.config import EvaluationConfig
from sarigan.metrics.evaluation import Evaluation
from sarigan.metrics.feature_statistics import DatasetImages, FeatureRequest, GeneratedImages, collect
from sarigan.metrics.inception_score import ClassStatistics
from sarigan.metrics.kid import kernel_distance
from sarigan.metrics.latent_sampling import all_latents, latent_batches
from sarigan.metrics.precision_recall import precision_recall
from sarigan.models.feature_networks import vgg16
from sarigan.models.feature_networks.feature_network import PREPROCESSINGS, preprocessing_named
from sarigan.training.state import TrainingState

ALL = ["fd_efficientnet", "kid_efficientnet", "precision_recall_efficientnet", "classifier_score_efficientnet"]


@pytest.fixture
def two_sets(smooth_images: Callable[..., np.ndarray], as_dataset: type) -> tuple:
    return as_dataset(smooth_images(30, 16, seed=0)), as_dataset(smooth_images(40, 16, seed=1))


@pytest.fixture(scope="module")
def generator(tiny_config: Callable[..., Config], tiny_state: Callable[[Config], TrainingState]) -> torch.nn.Module:
    return tiny_state(tiny_config()).system.average.module.eval()


@pytest.mark.parametrize("mode", PREPROCESSINGS)
def test_batch_size_changes_nothing(evaluation_of: Callable[..., Evaluation], two_sets: tuple, mode: str) -> None:
    values = [evaluate(evaluation_of(*two_sets, batch_size=size, preprocessing=mode), ALL).values() for size in (1, 7, 64)]
    assert values[0] == pytest.approx(values[1], rel=1e-5) and values[0] == pytest.approx(values[2], rel=1e-5)


def test_generated_images_are_functions_of_seed_and_position(generator: torch.nn.Module) -> None:
    def images(count: int, batches: list[list[int]], seed: int = 0) -> torch.Tensor:
        return torch.cat(list(GeneratedImages(generator, count, seed).batches(batches, torch.device("cpu"))))

    torch.manual_seed(5)
    state = torch.get_rng_state()
    together = images(9, [list(range(9))])
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(images(9, [[0, 1], [2, 3, 4, 5], [6, 7, 8]]), together, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(images(20, [[4], [2]]), together[[4, 2]], rtol=1e-4, atol=1e-4)
    assert (images(9, [list(range(9))], seed=1) - together).abs().max() > 0.1
    noise = GeneratedImages(generator, 9).noise([3, 4])
    assert [None if n is None else tuple(n.shape[2:]) for n in noise] == list(generator.synthesis.noise_shapes())
    assert not torch.equal(noise[-1][0], noise[-1][1])


def test_truncated_images(generator: torch.nn.Module) -> None:
    """Those of mean + psi (w - mean), under the same noise; with psi 1 those of w."""
    generator.update_mean_latent(100)
    for psi in (0.5, 1.0):
        source = GeneratedImages(generator, 5, 3, psi)
        (found,) = source.batches([list(range(5))], torch.device("cpu"))
        with torch.no_grad():
            w = generator.mapping(source.z(range(5)))
            w = generator.mean_latent + psi * (w - generator.mean_latent)
            expected = generator.synthesize(w[:, None].expand(-1, 4, -1), source.noise(range(5))).images
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        assert source.title == f"5 generated images, 8x8, seed 3, psi {psi:g}"


def test_latents_of_a_count_that_batches_do_not_divide(generator: torch.nn.Module) -> None:
    """All positions once, whatever the batch: the last one is shorter."""
    z, w = all_latents(generator, 7, 3, 4)
    assert z.shape == (7, 8) and torch.equal(z, GeneratedImages(generator, 7, 4).z(range(7)))
    torch.testing.assert_close(w, generator.mapping(z).detach())
    batches = list(latent_batches(generator, 7, 3, 4))
    assert [batch.positions for batch in batches] == [[0, 1, 2], [3, 4, 5], [6]]
    assert torch.equal(torch.cat([batch.z for batch in batches]), z)
    assert torch.equal(batches[1].noise[-1], GeneratedImages(generator, 7, 4).noise(range(7))[-1][3:6])


def test_a_subset_is_fixed_and_without_repeats(smooth_images: Callable[..., np.ndarray], as_dataset: type) -> None:
    images = DatasetImages(as_dataset(smooth_images(40, 8)), 15)
    assert len(images) == len(set(images.indices)) == 15 and images.indices == sorted(images.indices)
    assert images.indices == DatasetImages(images.dataset, 15).indices != list(range(15))


def test_mirrored_reals_of_the_release(smooth_images: Callable[..., np.ndarray], as_dataset: type) -> None:
    array = smooth_images(40, 8)
    images = DatasetImages(as_dataset(array), mirror=True)
    mirrored = [not np.array_equal(images.image(i), array[i]) for i in range(40)]
    assert 10 < sum(mirrored) < 30
    assert all(np.array_equal(images.image(i), array[i][:, :, ::-1]) for i in range(40) if mirrored[i])


def test_report(evaluation_of: Callable[..., Evaluation], two_sets: tuple, tmp_path: Path) -> None:
    report = evaluate(evaluation_of(*two_sets, seed=3), ALL)
    for _ in range(2):  # the second replaces the first
        report.write(tmp_path / "a" / "report.json")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["report.json"]
    results = json.loads((tmp_path / "a" / "report.json").read_text())["results"]
    assert [r["name"] for r in results] == [
        "fd_small", "kid_small", "precision_small", "recall_small", "classifier_score_small"
    ]  # fmt: skip
    for r in results:
        assert r["network_sha256"] == "0" * 64 and r["seed"] == 3 and len(r["data_hash"]) == 64
        assert {"protocol", "code_version", "time", "seconds", "preprocessing"} <= r.keys()
    assert results[1]["protocol"].startswith("unbiased MMD^2, kernel (x.y/D + 1)^3, 100 subsets of 30, 40 images against 30")
    assert "30 images" not in results[0]["protocol"] and "40 images against 30" in results[0]["protocol"]
    assert "kid_small" in report.table()


def test_protocols_count_the_images_that_were_used(
    evaluation_of: Callable[..., Evaluation], two_sets: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Features of at most MAX_KEPT images of each kind are kept; moments and classes are of all."""

    def counts(limit: int) -> dict[str, str]:
        monkeypatch.setattr(feature_statistics, "MAX_KEPT", limit)
        results = evaluate(evaluation_of(*two_sets), ALL).results
        return {r.name: r.protocol.removesuffix(", preprocessing tf").rsplit(", ", 1)[1] for r in results}

    both, all_of_both = "25 of 40 images against 25 of 30", "40 images against 30"
    assert counts(25) == {
        "fd_small": all_of_both, "kid_small": both, "precision_small": both, "recall_small": both,
        "classifier_score_small": "40 images",
    }  # fmt: skip
    assert counts(35)["kid_small"] == "35 of 40 images against 30"
    assert set(counts(40).values()) == {all_of_both, "40 images"}


def test_precision_is_not_recall(
    evaluation_of: Callable[..., Evaluation], smooth_images: Callable[..., np.ndarray], as_dataset: type
) -> None:
    """Images that are a few of the real ones, over and over: all precise, and most of the real ones are not covered."""
    real = smooth_images(60, 16)
    few = np.repeat(real[:6], 5, axis=0)
    values = evaluate(evaluation_of(as_dataset(real), as_dataset(few)), ["precision_recall_efficientnet"]).values()
    # Copies of an image are its nearest neighbours: radii of the generated images are 0 but for rounding.
    assert values["precision_small"] == 1 and values["recall_small"] <= 0.1


def test_feature_metrics_by_hand(
    evaluation_of: Callable[..., Evaluation], two_sets: tuple, small_network: torch.nn.Module
) -> None:
    """Frechet distance, kernel distance and classifier score of the features themselves, real and generated in their places."""
    report = evaluate(evaluation_of(*two_sets), ALL)
    mode = preprocessing_named("tf")
    (real, _), (generated, logits) = (small_network(torch.from_numpy(images.images), mode) for images in two_sets)
    a, b = generated.double().numpy(), real.double().numpy()
    root = scipy.linalg.sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    distance = np.square(a.mean(axis=0) - b.mean(axis=0)).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)
    values = report.values()
    assert values["fd_small"] == pytest.approx(distance, rel=1e-4)
    assert values["kid_small"] == pytest.approx(kernel_distance(generated, real, seed=0)[0], rel=1e-4)
    assert (values["precision_small"], values["recall_small"]) == pytest.approx(precision_recall(generated, real))
    classes = ClassStatistics(40, 7)
    classes.update(torch.arange(40), logits)
    assert values["classifier_score_small"] == pytest.approx(classes.score()[0], rel=1e-9)
    higher = {result.name for result in report.results if result.higher_is_better}
    assert higher == {"precision_small", "recall_small", "classifier_score_small"}


def test_features_beyond_the_limit_are_a_fixed_sample(
    two_sets: tuple, small_network: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 40 images 9 keep their features, each in its own row; moments are those of all."""
    monkeypatch.setattr(feature_statistics, "MAX_KEPT", 9)
    positions = feature_statistics.kept_positions(40)
    assert len(set(positions.tolist())) == 9 and positions.tolist() == sorted(positions.tolist()) != list(range(9))
    assert feature_statistics.kept_positions(9).tolist() == list(range(9))
    request = {small_network: FeatureRequest("small", keep_features=True)}
    mode = preprocessing_named("tf")
    found = collect(DatasetImages(two_sets[1]), request, mode, 7, torch.device("cpu"))[small_network]
    features = small_network(torch.from_numpy(two_sets[1].images), mode).features
    torch.testing.assert_close(found.features, features[positions], rtol=1e-5, atol=1e-6)
    assert found.moments.count == 40 and found.classes is None
    torch.testing.assert_close(found.moments.mean, features.double().mean(dim=0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["precision_recall_efficientnet", "kid_efficientnet"])
def test_a_metric_alone_has_the_features_that_it_needs(
    evaluation_of: Callable[..., Evaluation], two_sets: tuple, name: str
) -> None:
    alone = evaluate(evaluation_of(*two_sets), [name]).values()
    together = evaluate(evaluation_of(*two_sets), ALL).values()
    assert alone == pytest.approx({key: together[key] for key in alone})


@pytest.mark.parametrize("weights", ["opened", "on the machine", "nowhere"])
def test_precision_and_recall_in_vgg16_where_it_is(
    evaluation_of: Callable[..., Evaluation], two_sets: tuple, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`precision` is VGG16's; elsewhere the name says so."""
    evaluation = evaluation_of(*two_sets)
    network = evaluation.networks["efficientnet"]
    found = Path("vgg16.pth") if weights == "on the machine" else None
    monkeypatch.setattr(type(vgg16.WEIGHTS), "find", lambda self, given=None: found)
    monkeypatch.setattr("sarigan.metrics.evaluation.open_network", lambda name, device, path: {"vgg16": network}[name])
    if weights == "opened":
        evaluation.networks["vgg16"] = network
    if weights != "nowhere":
        network.name = "vgg16"
    names = list(evaluate(evaluation, ["precision_recall"]).values())
    assert names == (["precision_small", "recall_small"] if weights == "nowhere" else ["precision", "recall"])
    assert ("vgg16" in evaluation.networks) == (weights != "nowhere")


def test_psi_is_reported_of_generators_alone(
    evaluation_of: Callable[..., Evaluation], two_sets: tuple, generator: torch.nn.Module, small_network: torch.nn.Module
) -> None:
    report = evaluate(evaluation_of(*two_sets, truncation_psi=0.5), ["fd_efficientnet"])
    assert report.context["truncation_psi"] is None and report.context["images"] == report.to_dict()["results"][0]["images"]
    made = Evaluation(
        EvaluationConfig(num_images=8, truncation_psi=0.5), torch.device("cpu"), generator=generator,
        networks={"efficientnet": small_network},
    )  # fmt: skip
    context = evaluate(made, ["classifier_score_efficientnet"]).context
    assert context["truncation_psi"] == 0.5 and context["data"] is None and context["num_real_images"] is None


def test_images_of_another_size(evaluation_of: Callable[..., Evaluation], two_sets: tuple, smooth_images: Callable,
                                as_dataset: type) -> None:  # fmt: skip
    with pytest.raises(InputError, match="32x32, the images to compare are 16x16"):
        evaluation_of(as_dataset(smooth_images(9, 32)), two_sets[1])


def test_generator_of_another_size(generator: torch.nn.Module, two_sets: tuple) -> None:
    with pytest.raises(InputError, match="16x16, the generator makes 8x8"):
        Evaluation(EvaluationConfig(), torch.device("cpu"), generator=generator, data=two_sets[0])


def test_fewer_real_images_than_asked_for_are_told_once(
    evaluation_of: Callable[..., Evaluation], two_sets: tuple, caplog: pytest.LogCaptureFixture
) -> None:
    for wanted in (None, 30, 941, 941):
        assert len(evaluation_of(*two_sets, num_real_images=wanted).real_images) == 30
    line = "num_real_images=941, but the data set holds 30 images: all 30 are taken"
    assert [record.getMessage() for record in caplog.records] == [line]


def test_not_finite(evaluation_of: Callable[..., Evaluation], two_sets: tuple, small_network: torch.nn.Module) -> None:
    small_network.projection[0, 0] = float("nan")
    with pytest.raises(InputError, match="test images: image 0 has features that are not finite in network small"):
        evaluate(evaluation_of(*two_sets), ALL)


@pytest.mark.parametrize(
    ("names", "config", "message"),
    [
        (["fdi"], {}, "there is no 'fdi'; did you mean fid?"),
        (["precision_recall_efficientnet"], {"num_images": 3}, "with k=3 needs at least 4 images, got 3"),
        (["fd_efficientnet"], {"num_images": 1}, "fd_efficientnet needs at least 2 images, got 1"),
        (["fd_efficientnet"], {"num_workers": -1}, "num_workers must not be negative, got -1"),
        (["kid_efficientnet"], {"num_real_images": 1}, "a subset of kid_efficientnet needs at least 2 images, got 1"),
        (["fd_efficientnet"], {"preprocessing": "tf2"}, "preprocessing must be one of tf, clean, release, got 'tf2'"),
        (["fd_efficientnet"], {"batch_size": 0}, "batch_size must be at least 1"),
        (["fd_efficientnet"], {"truncation_psi": float("nan")}, "truncation_psi must be a finite number, got nan"),
    ],
)
def test_refused(
    evaluation_of: Callable[..., Evaluation], two_sets: tuple, names: list[str], config: dict, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        evaluate(evaluation_of(*two_sets, **config), names)
