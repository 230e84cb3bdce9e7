"""The first weights of a run from another model (`training.init_from`): of this project, or of somebody else's file."""

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sarigan import distributed
from sarigan.config import config_from_dict
from sarigan.errors import InputError
from sarigan.exporting.safetensors_export import is_exported, load_discriminator_weights, load_exported_and_origin
from sarigan.exporting.source import find_source
from sarigan.files.reading import reading
from sarigan.files.weights import load_weights
from sarigan.importing.foreign_file import load_state
from sarigan.runs.resume import differing_fields
from sarigan.training.state import TrainingState

log = logging.getLogger(__name__)
# Fixed noise, which training does not use, and the Q head, which depends on the losses: each may be on one side only.
OPTIONAL = ("noise_", "recognition.")


def initialize_from(state: TrainingState, source: str) -> None:
    """Give the networks and averages of a run at step 0 the weights of `source`; optimisers and counters start anew.

    Rank 0 reads the file for all, and says whose weights they are. InputError when they do not fit the configuration.
    """
    loaded = None
    with distributed.raise_on_all_ranks():
        if distributed.is_main():
            found = find_source(source)
            loaded = _state_of_export(found) if is_exported(found) else load_state(found)
    loaded = distributed.from_main(loaded)
    with distributed.raise_on_all_ranks(), reading(source, "model to begin with"):
        notes = put_in_place(state, loaded)
    if distributed.is_main():
        log.info(f"begins with the weights of {source}")
        for note in notes:
            log.warning(f"{source}: {note}")


def _state_of_export(folder: Path) -> dict[str, Any]:
    """Of an export what a checkpoint holds: the averaged generator as both, and the discriminator, if it is there."""
    generator, origin = load_exported_and_origin(folder)
    alone = {"system": generator.KIND, "generator": dataclasses.asdict(generator.config)}
    weights, discriminator = generator.state_dict(), load_discriminator_weights(folder)
    return {
        "config": origin.get("config", alone),
        "generator": weights,
        "ema_generator": weights,
        "discriminator": discriminator,
        "imported": {"missing": [] if discriminator else ["discriminator"]},
    }


def put_in_place(state: TrainingState, loaded: dict[str, Any]) -> list[str]:
    """Load the weights of a checkpoint's state; returns what a person should know. InputError for another architecture."""
    imported = loaded.get("imported") or {}
    missing = set(imported.get("missing", ()))
    _require_same_networks(state, loaded, missing)
    notes = [f"licence: {imported['licence']}"] if "licence" in imported else []
    for name, module in state.system.modules().items():
        if name in missing:
            notes.append(f"holds no {name}, which starts anew")
            continue
        own = module.state_dict()
        weights, left = _fitted(loaded[name], own)
        load_weights(module, weights)
        notes += [f"{name}: {part} is not in it, and starts anew" for part in left]
    return notes


def _fitted(weights: Mapping[str, Any], own: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The weights without optional ones that the network lacks, and with its own where they lack optional ones, named."""
    kept = {name: value for name, value in weights.items() if name in own or not name.startswith(OPTIONAL)}
    added = {name: value for name, value in own.items() if name not in kept and name.startswith(OPTIONAL)}
    return kept | added, sorted({name.split(".")[0] for name in added if not name.startswith("noise_")})


def _require_same_networks(state: TrainingState, loaded: Mapping[str, Any], missing: set[str]) -> None:
    """InputError listing the fields of the configuration that make other networks."""
    config = state.config
    there = config_from_dict(loaded["config"], "its configuration").to_dict()
    prefixes = [f"{section}." for section in config.ARCHITECTURE if section not in missing]
    ignored = {*config.NOT_ARCHITECTURE, "generator.stored_noise"}
    if len(there.get("generator", {}).get("class_names", [])) == len(config.class_names):
        ignored.add("generator.class_names")  # other classes, but as many
    different = [
        f"{name} ({a!r} there, {b!r} here)"
        for name, a, b in differing_fields(there, config.to_dict())
        if name == "system" or (name.startswith(tuple(prefixes)) and name not in ignored)
    ]
    if different:
        raise InputError(f"training.init_from needs the same networks; it differs in {', '.join(different)}")
