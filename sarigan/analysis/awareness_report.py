"""The channel awareness of a generator as one record: split, overlap and check of every layer, a table for a person."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from torch import Tensor

from sarigan.analysis.channel_awareness import (
    Agreement,
    VarianceSplit,
    agreement,
    closed_form_awareness,
    measured_awareness,
    style_awareness,
    variance_split,
)
from sarigan.analysis.class_overlap import ClassOverlap, check_top, class_overlap, nearest_classes
from sarigan.analysis.class_quality import total_awareness
from sarigan.analysis.conditional_channels import ConditionalChannels, is_class_conditional
from sarigan.models.generator import Generator

NUM_STRONGEST = 10  # channels of a class that the record names
DEFAULT_TOP = 20


@dataclass(frozen=True)
class LayerAwareness:
    """What was found of one layer."""

    values: Tensor  # A [K,C], the mean over latents
    split: VarianceSplit
    overlap: ClassOverlap
    check: Agreement | None  # of class-conditional layers: closed form against measurement


def measure_awareness(
    generator: Generator, seeds: Sequence[int], top: int | None = None, num_permutations: int = 1000,
    truncation_psi: float = 1.0, advance: Callable[[int], None] = lambda count: None,
) -> dict[str, LayerAwareness]:  # fmt: skip
    """By layer: the closed form of class-conditional layers, the analogue of others.

    top: how many of a class's strongest channels are compared, 20 by default; a layer with fewer gives all of them.
    InputError for a `top` that no layer has.
    """
    model = ConditionalChannels(generator, truncation_psi) if is_class_conditional(generator) else None
    tables = style_awareness(generator, seeds, truncation_psi) if model is None else closed_form_awareness(model, seeds)
    widest = max(table.shape[2] for table in tables.values())
    top = min(DEFAULT_TOP, widest) if top is None else top
    check_top(top, widest, "the widest layer")
    measured = {} if model is None else measured_awareness(model, seeds, advance=advance)
    found = {}
    for layer, table in tables.items():
        values = table.mean(dim=1)
        check = agreement(values, measured[layer].mean(dim=1)) if layer in measured else None
        overlap = class_overlap(values, min(top, values.shape[1]), num_permutations)
        found[layer] = LayerAwareness(values, variance_split(table), overlap, check)
    return found


def awareness_record(found: dict[str, LayerAwareness], class_names: Sequence[str], num_latents: int) -> dict[str, Any]:
    """What a JSON file holds; NaN where chance has no spread."""
    layers = {}
    for layer, of_layer in found.items():
        values, overlap = of_layer.values, of_layer.overlap
        order = values.argsort(dim=1, descending=True, stable=True)[:, :NUM_STRONGEST]
        layers[layer] = {
            "channels": values.shape[1],
            "variance_shares": of_layer.split.layer_shares(),
            "effective_number": dict(zip(class_names, overlap.effective_number, strict=True)),
            "top": overlap.top,
            "overlap": {kind: asdict(test) for kind, test in overlap.tests.items()},
            "nearest_class": {
                kind: nearest_classes(matrix, class_names) for kind, matrix in overlap.matrices.items() if kind != "jaccard"
            },
            "closed_form_against_measured": None if of_layer.check is None else asdict(of_layer.check),
            "total": dict(zip(class_names, values.sum(dim=1).tolist(), strict=True)),
            "strongest": {
                name: [{"channel": j, "awareness": float(row[j])} for j in chosen.tolist()]
                for name, chosen, row in zip(class_names, order, values, strict=True)
            },
        }
    totals = total_awareness({layer: of_layer.values for layer, of_layer in found.items()})
    return {"num_latents": num_latents, "total": dict(zip(class_names, totals.tolist(), strict=True)), "layers": layers}


def awareness_table(found: dict[str, LayerAwareness]) -> str:
    """A line a layer; chance stands in brackets behind each overlap."""
    head = ("layer", "channels", "class", "latent", "both", "effective", "jaccard", "cosine", "spearman", "r", "r in channels")
    rows: list[tuple[str, ...]] = [head]
    for layer, of_layer in found.items():
        shares, tests, check = of_layer.split.layer_shares(), of_layer.overlap.tests, of_layer.check
        correlations = () if check is None else (check.pearson, check.pearson_within_channels)
        rows.append(
            (
                layer, str(of_layer.values.shape[1]), *(f"{shares[kind]:.3f}" for kind in ("class", "latent", "both")),
                f"{fmean(of_layer.overlap.effective_number):.1f}",
                *(f"{tests[kind].score:.3f} ({tests[kind].null_mean:.3f})" for kind in ("jaccard", "cosine", "spearman")),
                *([f"{value:.3f}" for value in correlations] or ["", ""]),
            )
        )  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
