"""The page of a run: completions of held-out images, several for each hole."""

from collections.abc import Callable, Sequence

from sarigan.systems.inpainting.completion import Completions
from sarigan.visualization.completion_sheet import completion_sheet
from sarigan.visualization.report.page import Section, data_uri, figure

NUM_IMAGES = 8
SEEDS = range(3)


def sections(completions: Completions) -> list[Callable[[], Section]]:
    """Makers of the sections."""
    return [lambda: completions_section(completions, SEEDS)]


def completions_section(completions: Completions, seeds: Sequence[int]) -> Section:
    """A row an image, a column a seed of latents and noise."""
    indices = range(min(NUM_IMAGES, len(completions)))
    if not completions.generator.draws_completions:
        seeds = seeds[:1]
    made = {seed: Completions(completions.generator, completions.masked, seed).complete(indices) for seed in seeds}
    images, known, _ = made[seeds[0]]
    sheet = completion_sheet(images, known, {f"seed {seed}": completed for seed, (*_, completed) in made.items()})
    body = figure(data_uri(sheet), "Held-out images with their holes, completions by seed, originals", width=sheet.width)
    return Section("completions", "Completions of held-out images", f"<p>As Fig. 8 of the paper.</p>{body}")
