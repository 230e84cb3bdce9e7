"""Sections that need the trained generator: fresh samples, style mixing, what groups respond to, edits of groups."""

import html
from collections.abc import Sequence

from PIL import Image

from sarigan.editing.group_editing import scaling, toward
from sarigan.editing.mixing import RANGES, latent_range
from sarigan.editing.sampling import Sampling
from sarigan.models.generator import Generator
from sarigan.visualization.figures.attention_maps import attention_sheet
from sarigan.visualization.figures.editing import groups_overview
from sarigan.visualization.figures.mixing import halves_sheets, layer_sheets
from sarigan.visualization.figures.noise import noise_sheet
from sarigan.visualization.report.embedding import data_uri
from sarigan.visualization.report.page import Section, figure

ROWS, COLUMNS = range(3), range(8, 13)
EDIT_SEEDS = range(6)
EDIT_TARGET = 9
MAX_GROUPS = 16  # rows of a sheet of edits


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
    body += _sheet(noise_sheet(generator, sampling, ROWS, 32), "Images that differ in their noise alone, with deviation maps")
    return Section("mixing", "Style mixing", body)


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
    return Section("attention", "What the groups respond to", body)


def edits_section(generator: Generator, sampling: Sampling, labels: dict[str, dict[int, str]]) -> Section:
    """z_i toward another image's, h_i scaled, of every group of the chosen layer."""
    layer = chosen_layer(generator)
    if layer is None:
        return Section("edits", "Edits of single groups", "")
    (grouping,) = [item.grouping for item in generator.grouped_layers() if item.name == layer]
    groups = grouping.membership().any(dim=0).nonzero().flatten().tolist()[:MAX_GROUPS]
    z = {group: toward(generator, sampling, layer, group, "z", EDIT_TARGET) for group in groups}
    h = {group: scaling(layer, group, "h") for group in groups}
    z_text = f"Columns: 0 keeps z_i, 1 is that of seed {EDIT_TARGET}, more goes past it."
    sheets = {
        "intra-group codes z_i (Fig. 4)": groups_overview(
            generator, sampling, EDIT_SEEDS, z, (0.5, 1.0, 2.0), z_text, labels.get(layer)
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
