"""What may change in the configuration of a run that goes on, field by field.

Lengths, logging, devices, learning rates and loss weights may change: the new value acts from the next step on, and the log
names it. A field that fixes the shape of a weight, or which image stands at a position of the data order, may not change.
"""

from typing import Any

from sarigan.config import Config, config_from_dict
from sarigan.errors import InputError

# These decide which image stands at a position, and what is drawn for it.
DATA_ORDER = ("data.name", "data.crop", "data.num_images", "data.seed", "training.seed")
# Changes of these are not logged: no weight depends on them, nor on the section `metrics`.
SILENT = (
    "data.path", "data.num_workers", "training.total_kimg", "training.max_minutes", "training.device", "training.tick_kimg",
    "training.sample_kimg", "training.checkpoint_kimg", "training.num_checkpoints", "training.num_samples",
    "training.precision", "training.max_images_per_pass", "training.images_per_rank", "training.rank_timeout_seconds",
    "training.max_nonfinite_steps", "training.on_nonfinite", "training.memory_format",
)  # fmt: skip


def differing_fields(a: dict[str, Any], b: dict[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    """(dotted name, value in a, value in b) wherever two nested configurations differ."""
    found: list[tuple[str, Any, Any]] = []
    for key in sorted(a.keys() | b.keys()):
        x, y = a.get(key), b.get(key)
        if isinstance(x, dict) and isinstance(y, dict):
            found += differing_fields(x, y, f"{prefix}{key}.")
        elif x != y:
            found.append((f"{prefix}{key}", x, y))
    return found


def check_same_run(there: dict[str, Any], config: Config, source: str) -> list[str]:
    """Lines about fields that act from now on with another value than in the checkpoint `source`.

    InputError listing the fields that must not differ. A field that the checkpoint does not know had today's default.
    """
    here = config.to_dict()
    fields = differing_fields(config_from_dict(there, source).to_dict(), here)

    def among(*prefixes: str) -> str:
        chosen = [
            (name, a, b)
            for name, a, b in fields
            if name not in config.NOT_ARCHITECTURE and any(name == p or name.startswith(f"{p}.") for p in prefixes)
        ]
        return ", ".join(f"{name} ({a!r} there, {b!r} here)" for name, a, b in chosen)

    if differing := among("system", *config.ARCHITECTURE):
        raise InputError(f"{source}: checkpoint of another architecture; it differs in {differing}")
    if differing := among("training.batch_size"):
        a, b = there["training"]["batch_size"], here["training"]["batch_size"]
        raise InputError(f"{source}: training.batch_size must stay {a} when a run goes on, got {b}")
    if differing := among(*DATA_ORDER):
        raise InputError(
            f"{source}: a run goes on with the images and the seed it began with; it differs in {differing};"
            " another --run-dir starts anew"
        )
    told = [field for field in fields if field[0] not in SILENT and not field[0].startswith("metrics.")]
    return [f"{name} was {a!r}, is {b!r} from now on" for name, a, b in told]


def other_images(there: str | None, here: str | None) -> list[str]:
    """A line when the data set's content key is not the checkpoint's; None: not known."""
    if None in (there, here) or there == here:
        return []
    return [f"data was {there!r}, is {here!r}: the run goes on with other images than it was trained on"]


def check_same_images(there: int | None, here: int | None, source: str) -> None:
    """InputError when the data set has another number of images than the checkpoint's; None: not known."""
    if None not in (there, here) and there != here:
        raise InputError(
            f"{source}: the run began with {there:,} images, the data set has {here:,}; a run goes on with the images it began"
            " with, another --run-dir starts anew"
        )
