"""What `sarigan semantics` found: a JSON record, its Markdown, and a plain verdict. Chance stands beside every number."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np

from sarigan.analysis.semantics import OWN, LayerSemantics, Scores, mean_over_layers
from sarigan.analysis.stability import Stability, stability
from sarigan.metrics.groups.permutation_null import NullTest, without_nan

MEANING = {
    "part IoU": "each group's strongest 5% of positions and the part they match best",
    "edit lift": "share of an edit's change on its best part, over that part's share of the picture",
    "disentanglement": "share of the best attribute in all that an edit changes",
    "information": "nats that a group's codes tell about its best attribute",
}
EDITED = ("edit lift", "disentanglement")  # whose null are edited partitions, not permutations
IMAGES = {"information": "information images"}  # the setting that counts a score's images, where it is not `images`
Models = Mapping[str, Mapping[str, LayerSemantics]]  # by model and layer


def semantics_record(models: Models, num_permutations: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Everything, for JSON. settings: what was looked at; `psi`, `images` and `information images` among it."""
    found = {
        name: {
            "mean": _tests(mean_over_layers(layers)),
            "layers": {layer: _layer_record(measured) for layer, measured in layers.items()},
        }
        for name, layers in models.items()
    }
    return without_nan(
        {
            "settings": dict(settings),
            "models": found,
            "stability": [_pair_record(pair, models, num_permutations) for pair in combinations(models, 2)],
            "verdict": [line for name, layers in models.items() for line in verdicts(name, layers, settings)],
        }
    )


def verdicts(model: str, layers: Mapping[str, LayerSemantics], settings: Mapping[str, Any]) -> list[str]:
    """One sentence for each score: which ways to group are above random groups of equal sizes."""
    lines = []
    for name, scores in mean_over_layers(layers).items():
        tests = {way: scores.test(way) for way in scores.found}
        above = [_with_p(way, test) for way, test in tests.items() if test.above_chance]
        below = [_with_p(way, test) for way, test in tests.items() if not test.above_chance]
        any_test = next(iter(tests.values()))
        chance = f"{any_test.null_mean:.3g} ± {any_test.null_deviation:.2g}"
        parts = [f"{'above' if those is above else 'not above'}: {', '.join(those)}" for those in (above, below) if those]
        nulls, images = "partitions" if name in EDITED else "permutations", IMAGES.get(name, "images")
        over = f"mean over {len(layers)} layer{'s' if len(layers) > 1 else ''}; psi {settings['psi']:g},"
        over += f" {settings[images]} images, {any_test.num_null} {nulls}"
        parts += [f"p {test.p:.3f} is {least}" for test in tests.values() if (least := test.least_p(nulls))][:1]
        lines.append(f"{model}, {name} against random groups of equal sizes ({chance}, {over}): {'; '.join(parts)}.")
    premises = [measured.premise for measured in layers.values()]
    correlation = f"{np.mean([test.score for test in premises]):.2f}"
    count = sum(test.above_chance for test in premises)
    lines.append(
        f"{model}, premise: similar kernels and similar activations correlate by {correlation} (Spearman, mean over layers),"
        f" above chance in {count} of {len(premises)}."
    )
    return lines


def markdown(record: Mapping[str, Any]) -> str:
    """The record as a page."""
    lines = ["# Semantics of groups", "", *(f"- {line}" for line in record["verdict"]), ""]
    lines += [", ".join(f"{key} {value}" for key, value in record["settings"].items()) + ".", ""]
    for name, model in record["models"].items():
        scores = list(model["mean"])
        head = [f"| layer | groups | {' | '.join(scores)} |", f"|---|---|{'---|' * len(scores)}"]
        lines += [f"## {name}", "", *head]
        for layer, tests in [("mean", model["mean"]), *((key, value["scores"]) for key, value in model["layers"].items())]:
            lines += _rows(layer, tests)
        meanings = "; ".join(f"{key}: {MEANING[key]}" for key in scores)
        lines += ["", f"p in brackets; random: mean ± deviation. {meanings}.", "", _tests_of_table(model), ""]
        lines += ["| layer | premise | random |", "|---|---|---|"]
        for layer, value in model["layers"].items():
            test = value["premise"]
            chance = f"{test['null_mean']:.3f} ± {test['null_deviation']:.3f}"
            lines.append(f"| {layer} | {test['score']:.3f} ({test['p']:.3f}) | {chance} |")
        lines.append("")
    if record["stability"]:
        lines += _stability_table(record["stability"])
    return "\n".join(lines)


def _tests_of_table(model: Mapping[str, Any]) -> str:
    """How many tests the table of a model holds, and what chance gives among them."""
    tables = [model["mean"], *(layer["scores"] for layer in model["layers"].values())]
    tests = [test for table in tables for ways in table.values() for test in ways.values()]
    found, counts = sum(test["p"] <= 0.05 for test in tests), [test["num_null"] for test in tests]
    chance = sum(int(0.05 * (1 + count)) / (1 + count) for count in counts)  # p is uniform on 1/(1 + count), 2/(1 + count), ...
    least = ", ".join(f"{1 / (1 + count):.3f} with {count}" for count in sorted(set(counts)))
    return (
        f"The table holds {len(tests)} tests. Chance alone gives about {chance:.2g} of them p <= 0.05;"
        f" {found} have it. The least p that random groupings can give: {least}."
    )


def _rows(layer: str, tests: Mapping[str, Any]) -> list[str]:
    """A line for each way to group, and one for random groups."""
    ways = list(next(iter(tests.values())))
    rows = []
    for way in ways:
        cells = [f"{found[way]['score']:.3g} ({found[way]['p']:.3f})" for found in tests.values()]
        rows.append(f"| {layer} | {way} | {' | '.join(cells)} |")
    nulls = [next(iter(found.values())) for found in tests.values()]
    cells = [f"{test['null_mean']:.3g} ± {test['null_deviation']:.2g}" for test in nulls]
    return [*rows, f"| {layer} | random | {' | '.join(cells)} |"]


def _stability_table(pairs: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        "## Stability", "",
        "Means over layers. Adjusted Rand index and churn compare the same channels, so they say something of checkpoints of"
        " one run; two seeds have what chance has. Edits that match are compared between any two models.", "",
        "| models | groups | adjusted Rand index | churn | random | edits that match | random | above chance |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for pair in pairs:
        for way in pair["ways"]:
            found = [layer[way] for layer in pair["layers"].values()]
            index, churn, chance = ("-",) * 3
            if all(item["channels"] is not None for item in found):
                index = f"{np.mean([item['channels']['adjusted_rand_index'] for item in found]):.3f}"
                churn = f"{np.mean([item['channels']['churn']['score'] for item in found]):.2f}"
                chance = f"{np.mean([item['channels']['churn']['null_mean'] for item in found]):.2f}"
            edits = [item["edits"] for item in found]
            match, null = (np.mean([test[key] for test in edits]) for key in ("score", "null_mean"))
            above = f"{sum(test['p'] <= 0.05 for test in edits)} of {len(edits)}"
            names = " and ".join(pair["models"])
            lines.append(f"| {names} | {way} | {index} | {churn} | {chance} | {match:.3f} | {null:.3f} | {above} |")
    return [*lines, ""]


def _pair_record(pair: tuple[str, str], models: Models, num_permutations: int) -> dict[str, Any]:
    """The stability of every way to group that both models have, in the layers that both have."""
    first, second = (models[name] for name in pair)
    layers: dict[str, dict[str, Any]] = {}
    for layer in (name for name in first if name in second):
        a, b = first[layer], second[layer]
        layers[layer] = {
            way: asdict(_between(a, b, way, num_permutations)) for way in a.groups if way in b.groups
        }  # fmt: skip
    ways = list(next(iter(layers.values()), {}))
    return {"models": list(pair), "ways": ways, "layers": without_nan(layers)}


def _between(a: LayerSemantics, b: LayerSemantics, way: str, num_permutations: int) -> Stability:
    pairs = ((a.groups[way], b.groups[way]), (a.shares[way], b.shares[way]), (a.null_shares, b.null_shares))
    return stability(*pairs, num_permutations)


def _layer_record(measured: LayerSemantics) -> dict[str, Any]:
    own = measured.groups.get(OWN)
    return {
        "scores": _tests(measured.scores),
        "premise": asdict(measured.premise),
        "groups": {way: groups.tolist() for way, groups in measured.groups.items()},
        "best_attributes": measured.best_attributes,
        "has_groups": own is not None,
    }


def _tests(scores: Mapping[str, Scores]) -> dict[str, dict[str, Any]]:
    return {name: {way: asdict(found.test(way)) for way in found.found} for name, found in scores.items()}


def _with_p(way: str, test: NullTest) -> str:
    return f"{way} ({test.score:.3g}, p {test.p:.3f})"
