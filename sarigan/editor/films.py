"""Several pictures of one session: the way between two states, and the present edits on a sheet of seeds."""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from sarigan.editing.edit_file import FileEdit
from sarigan.editing.rendering import rendered_batches
from sarigan.editor.changes import Change
from sarigan.editor.feature_cache import edit_key
from sarigan.editor.recipe import Recipe
from sarigan.editor.session import Session
from sarigan.errors import InputError
from sarigan.models.generator import Generator
from sarigan.visualization.samples import save_video
from sarigan.visualization.sheet import make_sheet, pictures

MAX_FRAMES = 240
NUM_SHEET_SEEDS, SHEET_COLUMNS = 16, 8
MAX_SHEET_CLASSES = 64


def between(generator: Generator, first: Recipe, last: Recipe, share: float) -> tuple[Tensor, list[FileEdit]]:
    """Latents [1,L,w_dim] and edits of a state on the way, exact at both ends (0 and 1).

    Latents before the edits go along a line. The first state's edits fade out, the last one's fade in; where the two differ in
    amounts alone, these go from the first to the last.
    """
    changes = _faded(first.changes, last.changes, share)
    latents = torch.lerp(first.base_latents(generator), last.base_latents(generator), share)
    for change in changes:
        latents = change.moved(generator, last.sampling, latents)
    return latents, [edit for change in changes for edit in change.edits]


def _faded(first: list[Change], last: list[Change], share: float) -> list[Change]:
    pairs = [*zip(first, last, strict=False)]
    if len(first) == len(last) and all(_differ_in_amount(a, b) for a, b in pairs):
        return [b if share == 1.0 else a.with_amount(a.amount + (b.amount - a.amount) * share) for a, b in pairs]
    ends = [change.faded(1 - share) for change in first] if share < 1 else []
    return ends + ([change.faded(share) for change in last] if share > 0 else [])


def _differ_in_amount(a: Change, b: Change) -> bool:
    """Alone, or not at all. Two changes of one place may have other codes, such as those of another seed."""
    same = [edit_key(edit) for edit in a.with_amount(b.amount).edits] == [edit_key(edit) for edit in b.edits]
    return same and a.place == b.place


def frames(generator: Generator, first: Recipe, last: Recipe, count: int) -> Iterator[Tensor]:
    """Images [1,3,R,R] from one state to another, under the noise of the first."""
    if not 2 <= count <= MAX_FRAMES:
        raise InputError(f"a film has 2 to {MAX_FRAMES} pictures, got {count}")
    noise = first.noise_maps(generator)
    for index in range(count):
        latents, edits = between(generator, first, last, index / (count - 1))
        yield from rendered_batches(generator, latents, noise, None, edits)


def from_kept(session: Session) -> tuple[Recipe, Recipe]:
    """The kept state and the present one. InputError without a kept one."""
    if session.kept is None:
        raise InputError("keep a state first: it is where the film starts, the present picture is where it ends")
    return session.kept, session.recipe


def from_class(session: Session, first: str, last: str) -> tuple[Recipe, Recipe]:
    """The present state in one class and in another. InputError for a class that is not there, and for a projected picture."""
    for name in (first, last):
        session.model.generator.class_index(name)
    if session.recipe.given is not None:
        raise InputError("the picture has latents of its own; choose a seed first, whose latents follow the class")
    return replace(session.recipe, class_name=first), replace(session.recipe, class_name=last)


def strip(session: Session, ends: tuple[Recipe, Recipe], count: int = 8) -> Image.Image:
    """The way as one row of pictures."""
    row = [picture for image in frames(session.model.generator, *ends, count) for picture in pictures(image)]
    return make_sheet([row], [f"{index / (count - 1):.2f}" for index in range(count)])


def film(session: Session, ends: tuple[Recipe, Recipe], suffix: str, count: int) -> bytes:
    """The way there and back as a film (`.gif` or `.mp4`). InputError for another suffix, and for MP4 without ffmpeg."""
    there = [picture for image in frames(session.model.generator, *ends, count) for picture in pictures(image)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"film{suffix}"
        save_video([*there, *there[-2:0:-1]], path, frames_per_second=20)
        return path.read_bytes()


def classes_sheet(session: Session) -> Image.Image:
    """The present seed in every class (the first 64), a row each: as it is, and edited. InputError for a projected picture."""
    generator, noise = session.model.generator, session.recipe.noise_maps(session.model.generator)
    names = session.model.class_names[:MAX_SHEET_CLASSES]
    rows = []
    for name in names:
        state, _ = from_class(session, name, name)
        states = [state.without_edits(), state] if state.changes else [state]
        images = [image for s in states for image in rendered_batches(generator, s.latents(generator), noise, None, s.edits)]
        rows.append(pictures(torch.cat(images)))
    return make_sheet(rows, ("as it is", "edited")[: len(rows[0])], names)


def seeds_sheet(session: Session, first_seed: int) -> Image.Image:
    """The present edits on 16 seeds: rows of pictures as they are, each above a row of the same seeds edited."""
    generator, recipe = session.model.generator, session.recipe
    seeds = list(range(first_seed, first_seed + NUM_SHEET_SEEDS))
    Recipe(seed=seeds[-1])  # checks the seeds
    before: list[Tensor] = []
    after: list[Tensor] = []
    for seed in seeds:
        other = replace(recipe, seed=seed, given=None)
        noise = other.noise_maps(generator)
        for found, state in ((before, other.without_edits()), (after, other)):
            found += rendered_batches(generator, state.latents(generator), noise, None, state.edits)
    rows, names = [], []
    for start in range(0, NUM_SHEET_SEEDS, SHEET_COLUMNS):
        part = slice(start, start + SHEET_COLUMNS)
        rows += [pictures(torch.cat(before[part])), pictures(torch.cat(after[part]))]
        names += [f"seeds {seeds[part][0]} to {seeds[part][-1]}", "edited"]
    return make_sheet(rows, (), names, separate_rows=[1])
