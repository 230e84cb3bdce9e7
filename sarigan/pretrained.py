"""Load what was trained: `from sarigan import load_generator`, or the whole system of a checkpoint.

`find_source` (exporting/source.py) and `FORMATS` decide what a path or a name means, for every command.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from sarigan.config import Config, config_from_dict
from sarigan.config.paths import paths_from_run
from sarigan.errors import InputError
from sarigan.exporting.safetensors_export import WEIGHTS_NAME, is_exported, load_exported_and_origin
from sarigan.exporting.shipped import SHIPPED
from sarigan.exporting.source import find_source
from sarigan.files.checkpoint import DamagedCheckpointError, list_checkpoints, load_checkpoint, resolve_checkpoint
from sarigan.files.paths import kind_of
from sarigan.files.reading import reading
from sarigan.importing.foreign_file import load_state
from sarigan.models.feature_networks.published_file import file_sha256
from sarigan.models.generator import Generator
from sarigan.systems.inpainting.completing_system import CompletingSystem
from sarigan.systems.semantic_layout.system import SemanticLayoutSystem
from sarigan.systems.single_image.system import SingleImageSystem
from sarigan.systems.style.system import StyleConfig
from sarigan.systems.system import System
from sarigan.training.precision import Precision

SystemT = TypeVar("SystemT", bound=System)
Loader = Callable[[Path, str | torch.device], tuple[Generator, dict[str, Any]]]


def load_generator(path: str | Path, device: str | torch.device = "cpu") -> Generator:
    """The generator of a source (`find_source`), ready to call; of a checkpoint the averaged one.

    Its groups are the argmax of the averaged logits, its `mean_latent` the mean w of 10,000 fixed-seed z.
    Raises InputError when there is none to read; it names an older checkpoint that is whole where the newest is damaged.

        g = load_generator("avatars_64")   # or runs/quickstart
        out = g(torch.randn(4, g.config.z_dim), truncation_psi=0.7)
        out.images   # [4,3,R,R], about -1..1
    """
    return load_generator_and_record(path, device)[0]


def load_generator_and_record(path: str | Path, device: str | torch.device = "cpu") -> tuple[Generator, dict[str, Any]]:
    """`load_generator`, and what the file tells beside the weights, which is read once.

    Of a checkpoint that is its whole content, of an export its `origin`. Only a checkpoint is sure to have `config` and `step`.
    """
    found = find_source(path)
    loader = next((load for matches, load in FORMATS if matches(found)), _load_averaged)
    return loader(found, device)


def results_folder(source: str | Path) -> Path:
    """Where results about a source go when no place is named: its run directory or export, out/NAME for a model of the package.

    InputError as `find_source`.
    """
    found = find_source(source)
    if kind_of(Path(source)) is None and str(source) in SHIPPED:
        return Path("out") / str(source)
    return found if found.is_dir() else run_folder(found)


def require_run(folder: Path) -> None:
    """InputError for a model, which has no run: the folder of an export, or the name of one of the package."""
    if is_exported(folder) or (kind_of(folder) is None and str(folder) in SHIPPED):
        raise InputError(
            f"{folder} is a model, not a run: it has no log; generate, edit_groups, attention_maps and semantics take models"
        )


def run_folder(checkpoint: Path) -> Path:
    """The run directory of a checkpoint file, or the folder that it was copied to."""
    return checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent


def source_hash(source: str | Path) -> str:
    """SHA-256 of the file that a source's weights stand in, as `sha256sum` prints it; InputError as `find_source`."""
    found = find_source(source)
    return file_sha256(found / WEIGHTS_NAME if found.is_dir() else found)


def source_name(source: str | Path) -> str:
    """A folder's name for results about a source: run, step and the first digits of its hash; a model of the package by name.

    InputError as `find_source`.
    """
    if kind_of(Path(source)) is None and str(source) in SHIPPED:
        return str(source)
    found = find_source(source).resolve()
    name = found.stem
    if found.parent.name == "checkpoints":
        name = f"{found.parent.parent.name}-{found.stem.removeprefix('checkpoint-')}"
    return f"{name}-{source_hash(found)[:6]}"


def data_name(record: dict[str, Any]) -> str | None:
    """The `data.name` that a record's generator was trained on; None where the record does not tell."""
    return data_setting(record, "name")


def data_setting(record: dict[str, Any], field: str) -> str | None:
    """A field of `data`, as `labels`, that a record's generator was trained with; None where the record does not tell."""
    value: Any = record
    for key in ("config", "data", field):
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, str) else None


def _load_averaged(file: Path, device: str | torch.device) -> tuple[Generator, dict[str, Any]]:
    state = _load(file, device)
    with reading(file, "checkpoint of a generator"):
        config = config_from_dict(state["config"], str(file))
        generator = config.averaged_generator(state, device)
        if generator is None:
            raise InputError(
                f"{file}: holds a system {config.system!r}; this needs a style-based generator (system: style) or a"
                " class-conditional one (system: class_conditional)"
            )
        return generator, state


# What else than a checkpoint of this project a generator is read from: the first whose test is true of the path.
FORMATS: list[tuple[Callable[[Path], bool], Loader]] = [(is_exported, load_exported_and_origin)]


def require_style(config: Config, source: str | Path) -> StyleConfig:
    """The configuration of a style-based generator; InputError naming `source` for another system's."""
    if not isinstance(config, StyleConfig):
        raise InputError(f"{source}: holds a system {config.system!r}; this needs a style-based generator (system: style)")
    return config


def load_judged(source: str | Path, device: str | torch.device = "cpu") -> tuple[dict[str, Any], Config | None]:
    """Keyword arguments of `metrics.evaluation.Evaluation` that name what is judged, and the configuration of its training.

    A checkpoint of any system gives all of its networks. Any other source gives a generator, and None where it does not tell
    the configuration.
    """
    found = find_source(source)
    if not any(matches(found) for matches, _ in FORMATS):
        system, config = load_system(found, device)
        return system.evaluation_inputs(), config
    generator, record = load_generator_and_record(found, device)
    return {"generator": generator}, config_from_dict(record["config"], str(found)) if "config" in record else None


def load_system(path: str | Path, device: str | torch.device = "cpu") -> tuple[System, Config]:
    """The system of a checkpoint file or run directory, its networks frozen in evaluation mode, and its configuration.

    InputError as `load_generator`, or when the checkpoint does not fit its own configuration.
    """
    file = resolve_checkpoint(path)
    state = _load(file, device)
    with reading(file, "checkpoint of a run"):
        config = config_from_dict(paths_from_run(state["config"], run_folder(file)), str(file))
        weights = next((value for value in _tensors(state) if value.is_floating_point()), torch.empty(0))
        system = config.build(Precision(torch.device(device), "float64" if weights.dtype == torch.float64 else "float32"))
        system.load_state_dict(state, str(file))
    for network in system.networks.values():
        network.eval().requires_grad_(False)
    return system, config


def system_of(source: str | Path) -> str:
    """The name in `systems/registry.py` of the system that a source holds. InputError as `find_source`."""
    found = find_source(source)
    if any(matches(found) for matches, _ in FORMATS):
        return StyleConfig.system
    with reading(found, "checkpoint"):
        return str(_load(found, "cpu")["config"].get("system", StyleConfig.system))


def load_inpainting(path: str | Path, device: str | torch.device = "cpu") -> CompletingSystem:
    """The system of an inpainting checkpoint; InputError as `load_system`, and for one of another system."""
    return _load_kind(path, device, CompletingSystem, "inpainting or two_stage_inpainting, which sees image and mask")


def load_semantic_layout(path: str | Path, device: str | torch.device = "cpu") -> SemanticLayoutSystem:
    """The system of a checkpoint that makes images of layouts; InputError as `load_inpainting`."""
    return _load_kind(path, device, SemanticLayoutSystem, "semantic_layout, which sees layouts")


def load_single_image(path: str | Path, device: str | torch.device = "cpu") -> SingleImageSystem:
    """The system of a checkpoint that learnt from one picture; InputError as `load_inpainting`."""
    return _load_kind(path, device, SingleImageSystem, "single_image, which learns from one picture")


def _load_kind(path: str | Path, device: str | torch.device, kind: type[SystemT], wanted: str) -> SystemT:
    found = find_source(path)
    held = "an export of a generator"
    if not any(matches(found) for matches, _ in FORMATS):
        system, config = load_system(found, device)
        if isinstance(system, kind):
            return system
        held = f"a system {config.system!r}"
    raise InputError(f"{path}: holds {held}; this needs a checkpoint of system: {wanted}")


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)


def _load(file: Path, device: str | torch.device) -> dict[str, Any]:
    """`load_checkpoint`, which of a damaged file also tells the newest whole one that lies beside it."""
    try:
        return load_state(file, device)
    except DamagedCheckpointError as error:
        for other in reversed(list_checkpoints(file.parent)):
            if other != file and _is_whole(other):
                raise DamagedCheckpointError(f"{error}; the newest good one beside it is {other}: give that one") from None
        raise


def _is_whole(file: Path) -> bool:
    try:
        load_checkpoint(file)
    except InputError:
        return False
    return True
