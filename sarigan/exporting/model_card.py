"""The README.md beside an exported generator, in the hub's form: what it is, what it was made from and how, and its limits."""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from sarigan.errors import InputError
from sarigan.exporting.safetensors_export import is_exported
from sarigan.exporting.shipped import SHIPPED
from sarigan.files.paths import replace_text
from sarigan.files.reading import read_json_object
from sarigan.models.generator import Generator
from sarigan.progress import duration_text

CARD_NAME = "README.md"
# An absolute path, at the start of a text or after `=`, a blank or a quotation mark.
_FOLDERS = re.compile(r"""(?:(?<=^)|(?<=[=\s"'(]))~?/(?:[^/\s"']+/)*(?=[^/\s"'])""")
_ORIGIN = ("step", "seconds", "platform", "num_images")  # of a checkpoint's content


def without_folders(value: Any) -> Any:
    """The same JSON value; of every absolute path in its texts the last part alone, since the rest is of one machine."""
    if isinstance(value, dict):
        return {key: without_folders(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(item) for item in value]
    return _FOLDERS.sub("", value) if isinstance(value, str) else value


def origin_of(file: Path, record: dict[str, Any]) -> dict[str, Any]:
    """What an export keeps of a checkpoint file's content and of its run directory, without folders of the machine.

    The record of an export is such an origin, and is returned as it is. Of a file of another make only its name is kept.
    """
    if is_exported(file):
        return record
    if "config" not in record or "step" not in record:
        return {"checkpoint": file.name}
    run = file.parent.parent if file.parent.name == "checkpoints" else file.parent
    environment = read_json_object(run / "environment.json")
    seen = record["step"] * record["config"]["training"]["batch_size"]
    measured = [path for name in (f"{file.stem}-*.json", f"{seen:09d}.json") for path in (run / "evaluation").glob(name)]
    results = [read_json_object(path).get("results") for path in sorted(measured)]
    origin = {
        "checkpoint": file.name,
        "seen_kimg": seen / 1000,
        **{key: record[key] for key in _ORIGIN if record.get(key) is not None},
        **{key: environment[key] for key in ("command", "commit", "python") if environment.get(key)},
        "config": record["config"],
        "results": [entry for found in results if isinstance(found, list) for entry in found if isinstance(entry, dict)],
    }
    return without_folders(origin)


def write_model_card(
    folder: Path,
    generator: Generator,
    origin: dict[str, Any],
    method: str,
    license_name: str | None = None,
    limits: str = "",
    picture: str | None = None,
) -> None:
    """Write <folder>/README.md, titled as the folder.

    origin: of `origin_of`, and `rounding`, a text, for rounded weights; what it lacks is left out. picture: its file there.
    """
    title = folder.resolve().name
    parts = [
        _front_matter(license_name),
        f"# {title}",
        f"{method}: a generator of images of {generator.config.resolution}x{generator.config.resolution} pixels. Weights"
        " averaged over training.",
        *([f"![Samples: seeds 0, 1, ..., no truncation, not selected]({picture})"] if picture else []),
        _usage(title, generator),
        "## How it was made",
        _table(("", ""), _facts(generator, origin)),
        *_metrics(origin),
        "## Limits",
        _limits(generator, origin, limits),
        "## Licence",
        license_name or "Not stated by whoever exported it.",
        *_configuration(origin),
    ]
    try:
        replace_text(folder / CARD_NAME, "\n\n".join(parts) + "\n")
    except OSError as error:
        raise InputError(f"{folder / CARD_NAME}: cannot write the model card ({error.strerror})") from None


def _front_matter(license_name: str | None) -> str:
    lines = [f"license: {license_name}"] if license_name else []
    lines += ["library_name: sarigan", "pipeline_tag: unconditional-image-generation", "tags: [gan, sarigan]"]
    return "\n".join(["---", *lines, "---"])


def _usage(title: str, generator: Generator) -> str:
    size, source = generator.config.resolution, title if title in SHIPPED else f"path/to/{title}"
    names = generator.config.class_names
    pick = f"\nlabels = torch.tensor([generator.class_index({names[0]!r})] * 4)" if names else ""
    options = f"truncation_psi=0.7{', labels=labels' if names else ''}"
    return f"""```python
import torch
from sarigan import from_pretrained

generator = from_pretrained("{source}")    # the folder of this file, or OWNER/NAME on the hub{pick}
images = generator(torch.randn(4, {generator.config.z_dim}), {options}).images    # [4,3,{size},{size}], -1..1
```"""


def _facts(generator: Generator, origin: dict[str, Any]) -> list[tuple[str, str]]:
    """Rows of what is known."""
    makers: dict[str, Callable[[], str]] = {
        "data": lambda: _data(origin),
        "images seen": lambda: f"{origin['seen_kimg']:,.1f} thousand, batch {origin['config']['training']['batch_size']}",
        "training time": lambda: duration_text(origin["seconds"]),
        "machine": lambda: ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in origin["platform"].items()),
        "code": lambda: f"commit {origin['commit']}",
        "command": lambda: f"`{' '.join(origin['command'])}`",
        "checkpoint": lambda: f"{origin['checkpoint']}",
        "classes": lambda: _classes(generator),
        "parameters": lambda: f"{sum(parameter.numel() for parameter in generator.parameters()):,}",
        "weights": lambda: str(origin.get("rounding", "as trained")),
    }
    rows = []
    for name, make in makers.items():
        try:
            rows.append((name, make()))
        except (KeyError, TypeError, ValueError):  # older exports tell less
            continue
    return rows


def _classes(generator: Generator) -> str:
    """Their names; KeyError without any, which leaves the row out."""
    if not generator.config.class_names:
        raise KeyError("classes")
    return ", ".join(generator.config.class_names)


def _data(origin: dict[str, Any]) -> str:
    data, count = origin["config"]["data"], origin.get("num_images")
    if data["name"] == "avatars":
        return f"the built-in avatars, {data['num_images']:,} faces drawn by a program (seed {data['seed']})"
    path = f" {data['path']}" if data.get("path") else ""
    return f"{data['name']}{path}" + (f", {count:,} images" if count else "")


def _metrics(origin: dict[str, Any]) -> list[str]:
    """The section of metrics: of the checkpoint, before any rounding."""
    rows = []
    for result in origin.get("results") or []:
        value, psi = result.get("value"), result.get("truncation_psi")
        text = f"{value:.4g}" if isinstance(value, int | float) else "unknown"
        rows.append((result.get("name"), text, result.get("num_images"), result.get("data"), psi, result.get("protocol")))
    if not rows:
        return ["## Metrics", "None of this checkpoint lay in its run directory when it was exported."]
    note = "Of the checkpoint" + (", before its weights were rounded." if "rounding" in origin else ".")
    names = [name for name, *_ in rows]
    if any("fd_" in str(name) for name in names):
        note += " Distances in features other than Inception's are no FID and compare with one another alone."
    return ["## Metrics", note, _table(("metric", "value", "images", "against", "psi", "protocol"), rows)]


def _limits(generator: Generator, origin: dict[str, Any], limits: str) -> str:
    takes, not_taken = ["a latent z"], "no label, text"
    if generator.config.class_names:
        takes, not_taken = [*takes, "a class"], "no text"
    if generator.synthesis.noise_shapes():
        takes.append("noise")
    first = f"It takes {' and '.join(takes)}: {not_taken} or picture."
    lines = [f"{first} It makes images like those of its data, nothing else."]
    if origin.get("config", {}).get("data", {}).get("name") == "avatars":
        lines.append("Its data are drawings that a program makes of parts. It has seen no photograph and no person.")
    if generator.grouped_layers():
        lines.append("Its groups hold channels of similar kernels. A group need not be a part of the image that has a name.")
    if limits:
        lines.append(limits)
    return "\n".join(f"- {line}" for line in lines)


def _configuration(origin: dict[str, Any]) -> list[str]:
    if "config" not in origin:
        return []
    return ["## Configuration", "```json\n" + json.dumps(origin["config"], indent=1) + "\n```"]


def _table(header: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    cells = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)
