"""The page of a run: every class, ways from class to class, and parts of the latent of another image."""

from collections.abc import Callable

import torch

from sarigan.editing.rendering import Sampling
from sarigan.models.generator import Generator
from sarigan.systems.style.report import classes_section, mixing_section
from sarigan.visualization.report.page import Section, data_uri, figure
from sarigan.visualization.sheet import make_sheet, pictures

STEPS = 9
MAX_WAYS = 8


def sections(generator: Generator, sampling: Sampling | None = None) -> list[Callable[[], Section]]:
    """Makers of the sections."""
    sampling = sampling or Sampling(truncation_psi=1.0)
    return [
        lambda: classes_section(generator, sampling),
        lambda: interpolation_section(generator, sampling),
        lambda: mixing_section(generator, sampling),
    ]


def interpolation_section(generator: Generator, sampling: Sampling) -> Section:
    """Rows from a class to the next with one z: straight lines between the class codes."""
    names = generator.config.class_names
    ways = [(names[index], names[(index + 1) % len(names)]) for index in range(min(MAX_WAYS, len(names)))]
    t = torch.linspace(0, 1, STEPS).to(generator.mean_latent)
    rows = []
    for start, end in ways:
        a, b = (
            Sampling(sampling.truncation_psi, sampling.truncation_cutoff, classes=(name,)).latents(generator, [0])
            for name in (start, end)
        )
        rows.append(pictures(sampling.render(generator, torch.lerp(a, b, t[:, None, None]), [0] * STEPS)))
    headings = [f"{share:.2g}" for share in t.tolist()]
    caption = "Columns: the share of the second class. A row has one z."
    sheet = make_sheet(rows, headings, [f"{a} to {b}" for a, b in ways], "From class to class", caption)
    body = figure(data_uri(sheet), "Images on the way from one class to the next", width=sheet.width)
    return Section("interpolation", "From class to class", body)
