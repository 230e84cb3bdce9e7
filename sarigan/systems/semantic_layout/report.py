"""The page of a run: held-out layouts in several styles, and in the styles of reference images."""

from collections.abc import Callable

import torch

from sarigan.data.batch import to_signed_float
from sarigan.systems.semantic_layout.synthesis import SynthesizedImages
from sarigan.visualization.layout_sheet import layout_sheet
from sarigan.visualization.report.page import Section, data_uri, figure

NUM_LAYOUTS = 6
NUM_STYLES = 4
NUM_REFERENCES = 4


def sections(made: SynthesizedImages) -> list[Callable[[], Section]]:
    """Makers of the sections."""
    found = [lambda: styles_section(made)]
    if made.generator.config.style == "encoder":
        found.append(lambda: references_section(made))
    return found


def styles_section(made: SynthesizedImages) -> Section:
    """A row a layout, a column a style, which is the same in every row; at last the image that the layout is of."""
    indices = range(min(NUM_LAYOUTS, len(made)))
    batch = made.held_out.batch(indices)
    assert batch.layout is not None
    columns = {}
    for style in range(1 if made.generator.config.style == "none" else NUM_STYLES):
        z = made.styles([style]).expand(len(indices), -1)
        columns[f"style {style}"] = made.make(batch, z)
    columns["original"] = to_signed_float(batch.images)
    sheet = layout_sheet(batch.layout, columns)
    body = figure(data_uri(sheet), "Held-out layouts, images of them by style, originals", width=sheet.width)
    return Section("layouts", "Images of held-out layouts", body)


def references_section(made: SynthesizedImages) -> Section:
    """A row a layout, a column a reference image whose encoded style is taken. The first row shows the references."""
    count = min(NUM_LAYOUTS, len(made))
    batch = made.held_out.batch(range(count))
    references = made.held_out.batch([len(made) - 1 - index for index in range(min(NUM_REFERENCES, len(made)))]).images
    assert batch.layout is not None
    columns = {}
    for number, reference in enumerate(references):
        column = made.make(batch, made.styles(range(count)), reference.expand(count, -1, -1, -1)).cpu()
        columns[f"reference {number}"] = torch.cat([to_signed_float(reference[None], column.dtype), column])
    layouts = torch.cat([torch.zeros_like(batch.layout[:1]), batch.layout])
    sheet = layout_sheet(layouts, columns, ["style of", *[""] * count])
    caption = "In the first row reference images, below them held-out layouts in their styles"
    return Section("references", "Styles of reference images", figure(data_uri(sheet), caption, width=sheet.width))
