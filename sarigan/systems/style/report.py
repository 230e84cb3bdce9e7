"""What a style-based generator shows: values of its groups at a tick; sections of the report on mixing, groups and edits."""

import html
import math
from collections.abc import Callable, Sequence
from functools import cache

import torch
from PIL import Image
from torch import Tensor

from sarigan.analysis.part_iou import AS_RANDOM, best_labels, layer_features, layer_part_iou, segmented_avatars
from sarigan.editing.group_editing import RANGES, latent_range, scaling, toward
from sarigan.editing.rendering import Sampling, render
from sarigan.models.generator import Generator
from sarigan.visualization.attention_maps import attention_sheet
from sarigan.visualization.editing import groups_overview
from sarigan.visualization.mixing import halves_sheets, layer_sheets, noise_sheet
from sarigan.visualization.report.page import Section, data_uri, figure
from sarigan.visualization.samples import class_sheet

ROWS, COLUMNS = range(3), range(8, 13)
EDIT_SEEDS = range(6)
EDIT_TARGET = 9
MAX_GROUPS = 16  # rows of a sheet of edits
NUM_PART_IMAGES = 64
NUM_PERMUTATIONS = 200


@torch.no_grad()
def group_statistics(generator: Generator, average: Generator) -> dict[str, float]:
    """Per grouped layer: non-empty groups, size entropy over log g, agreement of online and EMA argmax, t and r.

    Keys are `groups/<layer>/<quantity>`. Size entropy is 1 for equal sizes, 0 when one group holds all channels.
    Waits for the device, once.
    """
    found: dict[str, Tensor] = {}
    for online, ema in zip(generator.grouped_layers(), average.grouped_layers(), strict=True):
        grouping = online.grouping
        membership = grouping.membership()
        sizes = membership.sum(dim=0)
        prefix = f"groups/{online.name}"
        found[f"{prefix}/nonempty"] = (sizes > 0).sum()
        if grouping.num_groups > 1:
            share = sizes / sizes.sum().clamp_min(1)
            entropy = -torch.xlogy(share, share).sum()  # an empty group adds 0
            found[f"{prefix}/size_entropy"] = entropy / math.log(grouping.num_groups)
        if next(grouping.parameters(), None) is not None:  # learned groups, whose average trails behind
            agreement = (membership.argmax(dim=1) == ema.grouping.membership().argmax(dim=1)).float().mean()
            found[f"{prefix}/ema_agreement"] = agreement
        found |= {f"{prefix}/{name}": value for name, value in grouping.statistics(online.kernel).items()}
    return dict(zip(found, torch.stack(list(found.values())).tolist(), strict=True)) if found else {}


def sections(generator: Generator, are_avatars: bool, sampling: Sampling | None = None) -> list[Callable[[], Section]]:
    """Makers of the sections. are_avatars: the generator was trained on them, so parts can be named."""
    sampling = sampling or Sampling()

    @cache
    def labels() -> tuple[dict[str, dict[int, str]], str]:
        return part_labels(generator, sampling) if are_avatars else ({}, "")

    return [
        lambda: classes_section(generator, sampling),
        lambda: attention_section(generator, sampling, *labels()),
        lambda: edits_section(generator, sampling, labels()[0]),
        lambda: mixing_section(generator, sampling),
    ]


def part_labels(generator: Generator, sampling: Sampling) -> tuple[dict[str, dict[int, str]], str]:
    """Which part of an avatar each group matches best, by layer, and a note for the caption."""
    layers = list(generator.synthesis.num_groups())
    if not layers:
        return {}, ""
    latents = sampling.latents(generator, range(NUM_PART_IMAGES))
    masks = segmented_avatars(render(generator, latents, "fixed"))
    features = layer_features(generator, layers, latents)
    results = {name: layer_part_iou(generator, name, features[name], masks, NUM_PERMUTATIONS) for name in layers}
    note = "Beside each group: the part its mean absolute feature matches best, and their IoU"
    note += f" (psi {sampling.truncation_psi:g}, {NUM_PART_IMAGES} images, {NUM_PERMUTATIONS} permutations; {masks.source})."
    return {name: best_labels(result, masks.names) for name, result in results.items()}, note


def chosen_layer(generator: Generator) -> str | None:
    """The layer that the page looks into: `up` of 16 px, or the last grouped one of a smaller model; None without groups."""
    names = list(generator.synthesis.num_groups())
    return ("16x16.up" if "16x16.up" in names else names[-1]) if names else None


def mixing_section(generator: Generator, sampling: Sampling) -> Section:
    """By layer range, by half of w, and other noise."""
    names = [name for name in RANGES if _exists(generator, name)]
    sheets = layer_sheets(generator, sampling, ROWS, COLUMNS, names)
    if generator.config.grouping.kind != "none":
        sheets |= halves_sheets(generator, sampling, ROWS, COLUMNS)
    body = "".join(_sheet(sheet, f"Style-mixing sheet, {name.replace('_', ' ')}") for name, sheet in sheets.items())
    if generator.synthesis.noise_shapes():
        sheet = noise_sheet(generator, sampling, ROWS, 32)
        body += _sheet(sheet, "Images that differ in their noise alone, with deviation maps")
    return Section("mixing", "Style mixing", body)


def classes_section(generator: Generator, sampling: Sampling) -> Section:
    """A row a class; empty without classes."""
    if not generator.config.class_names:
        return Section("classes", "Classes", "")
    return Section("classes", "Classes", _sheet(class_sheet(generator, sampling, range(8)), "Images of every class"))


def attention_section(
    generator: Generator, sampling: Sampling, labels: dict[str, dict[int, str]], note: str, layers: Sequence[str] | None = None
) -> Section:
    """Group response maps of the chosen layer and of the one after it."""
    layer = chosen_layer(generator)
    if layer is None:
        return Section("attention", "What the groups respond to", "")
    names = list(generator.synthesis.num_groups())
    shown = layers or names[names.index(layer) : names.index(layer) + 2]
    body = "<p>As in Fig. 3 of the paper.</p>" + "".join(
        _sheet(
            attention_sheet(generator, sampling, range(6), name, labels=labels.get(name), note=note if name in labels else ""),
            f"Response maps of the groups of {name} over six images",
        )
        for name in shown
    )
    marks = [text.endswith(AS_RANDOM) for name in shown for text in labels.get(name, {}).values()]
    if marks:
        body += (
            f'<p class="soft">Of these {len(marks)} groups about {0.05 * len(marks):.2g} would be without the mark {AS_RANDOM}'
            f" by chance; {marks.count(False)} are.</p>"
        )
    return Section("attention", "What the groups respond to", body)


def edits_section(generator: Generator, sampling: Sampling, labels: dict[str, dict[int, str]]) -> Section:
    """z_i toward another image's, h_i scaled, of every group of the chosen layer."""
    layer = chosen_layer(generator)
    if layer is None:
        return Section("edits", "Edits of single groups", "")
    groups = generator.grouped_layer(layer).occupied()[:MAX_GROUPS]
    z = {group: toward(generator, sampling, layer, group, "z", EDIT_TARGET) for group in groups}
    h = {group: scaling(layer, group, "h") for group in groups}
    z_text = f"Columns: 0 keeps z_i, 1 is that of seed {EDIT_TARGET}, more goes past it."
    sheets = {
        "intra-group codes z_i (Fig. 4)": groups_overview(
            generator, sampling, EDIT_SEEDS, z, (0.5, 1.0, 2.0, 4.0), z_text, labels.get(layer)
        ),
        "inter-group codes h_i (Fig. 5)": groups_overview(
            generator, sampling, EDIT_SEEDS, h, (0.0, 0.5, 2.0, 4.0), "Columns: h_i times this factor.", labels.get(layer)
        ),
    }
    body = "".join(_sheet(sheet, f"Edits of the {name} of every group of {layer}") for name, sheet in sheets.items())
    return Section("edits", "Edits of single groups", f"<p>Layer {html.escape(layer)}.</p>{body}")


def _exists(generator: Generator, name: str) -> bool:
    try:
        return len(latent_range(generator, name)) > 0
    except ValueError:
        return False


def _sheet(image: Image.Image, alt: str) -> str:
    return figure(data_uri(image), alt, width=image.width)
