"""What leaves and enters the editor: edit files, latents, PNG, and the command line that makes the same picture.

An edit file is that of `sarigan generate --edit`, with one more field, `picture`: seed, truncation, noise, class and, where
they are not the seed's, the latents. `generate` passes over it.
"""

import io
import json
import shlex
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from sarigan.editing.edit_file import edits_from_dict, edits_to_dict, save_latents
from sarigan.editor.recipe import Recipe
from sarigan.editor.session import Session
from sarigan.errors import InputError
from sarigan.files.reading import parse_json, reading
from sarigan.models.generator import Generator
from sarigan.visualization.sheet import pictures

MAX_EDIT_FILE_BYTES = 8 << 20
EDITS_NAME, LATENTS_NAME = "edits.json", "latents.npz"


def png_bytes(image: Tensor) -> bytes:
    """images [1,3,R,R] in -1..1 -> a PNG file of R x R pixels, as `generate` writes it."""
    return picture_bytes(Image.fromarray(pictures(image)[0]))


def picture_bytes(picture: Image.Image) -> bytes:
    """A PNG file."""
    file = io.BytesIO()
    picture.save(file, format="PNG")
    return file.getvalue()


def edit_file(session: Session) -> bytes:
    """The edits that are switched on, and the picture they act on."""
    recipe, generator = session.recipe, session.model.generator
    content = edits_to_dict(recipe.edits, generator) | {"picture": _picture(recipe, generator)}
    return (json.dumps(content, indent=1) + "\n").encode()


def load_edit_file(session: Session, name: str, content: bytes) -> None:
    """Edits and picture of a file in place of those that are there. InputError naming the file and the field."""
    generator = session.model.generator
    if len(content) > MAX_EDIT_FILE_BYTES:
        raise InputError(f"{name}: {len(content):,} bytes; an edit file has at most {MAX_EDIT_FILE_BYTES:,}")
    with reading(name, "JSON file of edits"):
        found = parse_json(content)
        edits = edits_from_dict(found, generator)
        recipe = _recipe(found.get("picture", {}), session.recipe, generator)
    session.load(recipe, edits, name)


def latents_file(session: Session) -> bytes:
    """The latents of the edited picture, for `generate --latents`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / LATENTS_NAME
        save_latents(path, session.model.generator, session.recipe.latents(session.model.generator))
        return path.read_bytes()


def command_line(session: Session) -> str:
    """`sarigan generate ...` that makes the same bits, next to the files that `edit_file` and `latents_file` give."""
    recipe, generator = session.recipe, session.model.generator
    words = ["sarigan", "generate", str(session.model.loaded.file if session.model.is_run else session.model.source)]
    if recipe.is_of_seed(generator):
        words += ["--seeds", str(recipe.seed), "--truncation", repr(recipe.truncation)]
        words += [] if recipe.class_name is None else ["--class", recipe.class_name]
    else:
        words += ["--latents", LATENTS_NAME]
    words += ["--noise", recipe.noise, *(["--edit", EDITS_NAME] if recipe.edits else []), "--output", "out/edited"]
    return shlex.join(words)


def _picture(recipe: Recipe, generator: Generator) -> dict[str, Any]:
    found = {"seed": recipe.seed, "truncation": recipe.truncation, "noise": recipe.noise, "class": recipe.class_name}
    return found if recipe.is_of_seed(generator) else found | {"latents": recipe.latents(generator)[0].tolist()}


def _recipe(content: Any, before: Recipe, generator: Generator) -> Recipe:
    """What `_picture` gave; fields that are missing stay as before."""
    if not isinstance(content, dict):
        raise InputError(f"picture must be an object, got {type(content).__name__}")
    given = before.given if "seed" not in content else None
    if content.get("latents") is not None:
        given = torch.tensor(content["latents"], dtype=torch.float64).to(generator.mean_latent)[None]
        wanted = (1, generator.num_latents, generator.config.w_dim)
        if given.shape != wanted or not bool(given.isfinite().all()):
            raise InputError(f"picture.latents must be finite numbers of shape {wanted[1:]}, got {tuple(given.shape[1:])}")
    seed, psi, noise = (content.get(name, old) for name, old in
                        (("seed", before.seed), ("truncation", before.truncation), ("noise", before.noise)))  # fmt: skip
    class_name = content.get("class", before.class_name)
    if type(seed) is not int or not isinstance(psi, int | float) or not isinstance(noise, str):
        raise InputError("picture must have a whole number as seed, a number as truncation and a name as noise")
    if class_name is not None:
        class_name = str(class_name)
        generator.class_index(class_name)
    return replace(Recipe(seed, float(psi), noise, class_name), given=given)
