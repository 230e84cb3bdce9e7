"""All scores of a layer at once: chance is calibrated, models without groups, stability, and the record."""

import json
from dataclasses import asdict
from itertools import permutations

import numpy as np
import pytest
import torch

from sarigan.analysis import semantics
from sarigan.analysis.part_iou import PartMasks
from sarigan.analysis.semantics import (
    ACTIVATIONS,
    KERNELS,
    OWN,
    LayerSemantics,
    Scores,
    Seen,
    SemanticsConfig,
    mean_over_layers,
    measure_semantics,
)
from sarigan.analysis.semantics_report import markdown, semantics_record, verdicts
from sarigan.analysis.stability import matched_cosine, stability
from sarigan.errors import InputError
from sarigan.layers.grouping import GroupingConfig
from sarigan.metrics.groups.permutation_null import NullTest, random_partitions
from sarigan.models.feature_networks.avatar_networks import AvatarClassifier
from sarigan.models.generator import Generator, GeneratorConfig

LAYERS = ("8x8.up", "8x8.conv")
SETTINGS = {"images": 6, "information images": 80, "psi": 0.5}
FEW = SemanticsConfig(num_permutations=19, num_partitions=19, num_premise_images=8)


def generator(seed: int = 0, kind: str = "similarity", **more: str) -> Generator:
    torch.manual_seed(seed)
    widths = {"resolution": 8, "z_dim": 8, "style_dim": 8, "mapping_layers": 2, "channel_base": 64, "channel_max": 12}
    config = GeneratorConfig(**widths, grouping=GroupingConfig(kind=kind, num_groups=3), **more)
    return Generator(config).eval().requires_grad_(False)


@torch.no_grad()
def seen(model: Generator) -> Seen:
    """Parts are the quarters of the picture, attributes what an untrained classifier says."""
    source = torch.Generator().manual_seed(1)
    latents, many = (model.latents(torch.randn(count, 8, generator=source)) for count in (6, 80))
    masks = torch.zeros(6, 8, 8, dtype=torch.long)
    masks[:, 4:] += 1
    masks[:, :, 4:] += 2
    torch.manual_seed(2)
    classifier = AvatarClassifier(["a", "b", "c", "d"], (4, 4)).eval()
    logits = classifier(model.synthesize(many, "fixed").images)
    return Seen(latents, PartMasks(masks, ("nw", "sw", "ne", "se"), "quarters"), classifier, many, logits)


def test_groups_that_know_nothing_are_at_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random groups of a model that has no groups: p is uniform, for every score.

    Groups of an untrained SariGAN would not do: the codes of their channels share h_i.
    """
    found: dict[str, list[float]] = {}
    few = SemanticsConfig(num_permutations=19, num_partitions=9, num_premise_images=8)
    for seed in range(12):
        model = generator(seed, kind="none")
        groups = random_partitions(torch.arange(12) % 3, 1, seed=100 + seed)[0]
        monkeypatch.setattr(semantics, "own_groups", lambda model, groups=groups: {LAYERS[1]: (groups, 3)})
        for layer in measure_semantics(model, LAYERS[1:], seen(model), few).values():
            for name, scores in layer.scores.items():
                assert len(scores.null) == (9 if name in ("edit lift", "disentanglement") else 19)
                found.setdefault(name, []).append(scores.test(OWN).p)
    assert set(found) == {"part IoU", "edit lift", "disentanglement", "information"}
    for name, p in found.items():
        assert len(p) == 12 and 0.3 < np.mean(p) < 0.75 and sum(value <= 0.05 for value in p) <= 3, (name, p)


def test_stylegan2_has_the_groups_made_afterwards() -> None:
    model = generator(kind="none")
    found = measure_semantics(model, LAYERS, seen(model), SemanticsConfig(5, 3, 8, num_groups=4))
    for layer in found.values():
        assert list(layer.groups) == [KERNELS, ACTIVATIONS] and layer.locality is None
        assert all(sorted(torch.bincount(groups).tolist()) == [3, 3, 3, 3] for groups in layer.groups.values())
    assert set(mean_over_layers(found)["edit lift"].found) == {KERNELS, ACTIVATIONS}
    with pytest.raises(InputError, match="--groups must be 1 to 12, .*, got 13"):
        measure_semantics(model, LAYERS, seen(model), SemanticsConfig(5, 3, 8, num_groups=13))


def test_all_ways_have_the_sizes_of_the_learned_groups() -> None:
    model = generator()
    layer = model.grouped_layer("8x8.conv")
    with torch.no_grad():
        layer.grouping.logits[:, 1] = -9.0  # a group without channels
    found = measure_semantics(model, LAYERS, seen(model), FEW)["8x8.conv"]
    sizes = [torch.bincount(groups, minlength=3).tolist() for groups in found.groups.values()]
    assert sizes[0] == sizes[1] == sizes[2] and sizes[0][1] == 0
    assert found.shares[OWN].shape == (2, 4) and found.null_shares.shape == (19, 2, 4)
    assert found.locality is not None and [row["group"] for row in found.locality["groups"]] == [0, 2]


def test_a_generator_without_styles_of_channels_is_refused() -> None:
    model = generator(kind="none", synthesis="adain")
    with pytest.raises(InputError, match="needs channels with the styles of StyleGAN2 or SariGAN; this generator has none"):
        measure_semantics(model, LAYERS, Seen(torch.zeros(1), PartMasks(torch.zeros(1), (), "")), FEW)


def test_the_same_groups_are_stable_and_random_ones_are_not() -> None:
    """Whatever the order of the groups; the p of unrelated groups is uniform."""
    source = torch.Generator().manual_seed(0)
    shares, null = torch.rand(5, 6, generator=source), torch.rand(2, 30, 5, 6, generator=source)
    other = shares[torch.tensor([3, 0, 4, 1, 2])]
    assert matched_cosine(shares, other) == pytest.approx(1)
    groups = torch.arange(20) % 5
    same = stability((groups, (groups + 2) % 5), (shares, other), (null[0], null[1]), 30)
    assert same.channels is not None and same.channels.adjusted_rand_index == 1 and same.channels.churn.score == 0
    assert same.edits.p == pytest.approx(1 / 31)
    p = []
    for some in random_partitions(groups, 20, seed=5):
        pair = torch.rand(2, 5, 6, generator=source)
        found = stability((groups, some), (pair[0], pair[1]), (null[0], null[1]), 2)
        assert found.channels is not None and abs(found.channels.adjusted_rand_index) < 0.35
        p.append(found.edits.p)
    assert 0.35 < np.mean(p) < 0.65
    assert stability((groups, groups[:9]), (shares, other), (null[0], null[1]), 2).channels is None


def test_matched_cosine_is_that_of_all_matchings() -> None:
    """By enumeration: rows less their column means, the best of all one-to-one matchings."""
    first, second = np.random.default_rng(0).random((2, 4, 3))
    rows = [x - x.mean(axis=0) for x in (first, second)]
    best = max(
        np.mean(
            [rows[0][i] @ rows[1][j] / np.linalg.norm(rows[0][i]) / np.linalg.norm(rows[1][j]) for i, j in enumerate(order)]
        )
        for order in permutations(range(4))
    )
    assert matched_cosine(torch.from_numpy(first), torch.from_numpy(second)) == pytest.approx(best)


def test_the_record_of_two_models_and_its_page() -> None:
    models = {
        name: measure_semantics(model, LAYERS, seen(model), FEW)
        for name, model in {"learned": generator(3), "plain": generator(4, "none")}.items()
    }
    record = json.loads(json.dumps(semantics_record(models, 19, SETTINGS), allow_nan=False))
    (pair,) = record["stability"]
    assert (
        pair["models"] == ["learned", "plain"]
        and pair["ways"] == [KERNELS, ACTIVATIONS]
        and list(pair["layers"]) == list(LAYERS)
    )
    mean = record["models"]["learned"]["mean"]["part IoU"][OWN]
    layers = record["models"]["learned"]["layers"].values()
    for field in ("score", "null_mean"):
        assert mean[field] == pytest.approx(np.mean([layer["scores"]["part IoU"][OWN][field] for layer in layers]))
    page = markdown(record)
    assert (
        f"| mean | its own | {mean['score']:.3g} ({mean['p']:.3f}) |" in page
        and "| learned and plain | k-means of kernels |" in page
    )
    # A sentence says what its p says.
    sentence = next(line for line in record["verdict"] if line.startswith("learned, part IoU"))
    assert ("; not above: its own" in sentence or ": not above: its own" in sentence) == (mean["p"] > 0.05)


def test_the_page_says_what_chance_gives_among_its_tests() -> None:
    """Two layers and their mean, two scores of one way: six tests. Both of 20 partitions are above all of them."""
    iou, lift = ({"its own": NullTest(2.0, 1.0, 0.5, count, 2.0, p)} for count, p in ((200, 0.07), (20, 1 / 21)))
    tests = {name: {way: asdict(test) for way, test in t.items()} for name, t in {"part IoU": iou, "edit lift": lift}.items()}
    layer = {"scores": tests, "premise": asdict(iou["its own"])}
    models = {"m": {"mean": tests, "layers": {"a": layer, "b": layer}}}
    record = {"verdict": [], "settings": {}, "stability": [], "models": models}
    assert (
        "The table holds 6 tests. Chance alone gives about 0.29 of them p <= 0.05; 3 have it."
        " The least p that random groupings can give: 0.048 with 20, 0.005 with 200."
    ) in markdown(record)
    scores = {
        name: Scores({"own": value}, np.arange(20.0))
        for name, value in (("edit lift", 30.0), ("part IoU", 3.0), ("information", 3.0))
    }
    measured = LayerSemantics({}, scores, iou["its own"], {}, torch.zeros(0), None, {})
    of_edits, of_parts, of_codes, _ = verdicts("m", {"a": measured}, SETTINGS)
    assert of_edits.endswith(": above: own (30, p 0.048); p 0.048 is the least that 20 partitions can give.")
    assert "(9.5 ± 5.9, mean over 1 layer; psi 0.5, 6 images, 20 partitions)" in of_edits
    assert "; psi 0.5, 6 images, 20 permutations)" in of_parts and "; psi 0.5, 80 images, 20 permutations)" in of_codes
    assert of_parts.endswith(": not above: own (3, p 0.857).")
