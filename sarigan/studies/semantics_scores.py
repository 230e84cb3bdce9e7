"""What `sarigan semantics` found of a run, as results of a study beside those of `sarigan evaluate`."""

from collections.abc import Mapping
from typing import Any

from sarigan.analysis.semantics_report import MEANING


def semantics_results(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Two results of every score of semantics.json; empty for an empty record.

    `semantics_<score>` is the mean over layers. `semantics_<score>_above_random` is its distance from the mean of random groups
    of the same sizes, in their standard deviations: it compares groups of other sizes and numbers, which the score does not.
    """
    results = []
    for model in record.get("models", {}).values():
        for score, tests in model["mean"].items():
            way, test = next(iter(tests.items()))  # its own groups, where the model has groups
            name = f"semantics_{score.lower().replace(' ', '_')}"
            what = f"{MEANING[score]}, of {way}, mean over {len(model['layers'])} layers"
            deviation = test["null_deviation"]
            above = (test["score"] - test["null_mean"]) / deviation if deviation else None
            chance = f"standard deviations above the mean of random groups of the same sizes: {what}"
            for suffix, value, protocol in (("", test["score"], what), ("_above_random", above, chance)):
                results.append({"name": name + suffix, "value": value, "protocol": protocol, "higher_is_better": True})
    return results
