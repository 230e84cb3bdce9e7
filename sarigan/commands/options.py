"""Options that several commands share, and what they mean."""

import argparse
import math
import re
from collections.abc import Sequence
from pathlib import Path

from sarigan import load_generator
from sarigan.device import resolve_device
from sarigan.editing.edit_file import FileEdit, load_edits
from sarigan.editing.rendering import Sampling
from sarigan.editing.seeds import NOISES
from sarigan.errors import InputError
from sarigan.layers.intervention import check_place
from sarigan.models.feature_networks.perceptual import DISTANCES
from sarigan.models.generator import Generator
from sarigan.pretrained import source_name

MAX_NAME = 60  # letters of one setting in the name of a folder


def add_sampling_options(
    parser: argparse.ArgumentParser, noise: str = "fixed", psi: float = 0.7, several: bool = False
) -> None:  # fmt: skip
    """The checkpoint, or `several`, and how images are sampled from it."""
    kinds = "a run directory, a checkpoint file or a model, as avatars_64"
    if several:
        parser.add_argument("checkpoint", type=Path, nargs="+", metavar="MODEL", help=kinds)
    else:
        parser.add_argument("checkpoint", type=Path, help=kinds)
    parser.add_argument("--truncation", type=float, default=psi, metavar="PSI", help=f"of w to its mean; default {psi}, 1: off")
    parser.add_argument("--truncation-cutoff", type=int, metavar="N", help="truncate the first N latents only")
    parser.add_argument("--noise", choices=NOISES, default=noise, help="the same for all images, new by seed, or none")
    parser.add_argument(
        "--class", dest="classes", action="append", default=[], metavar="NAME",
        help="class of the images; repeatable: the seeds take the classes in turn; default: drawn as in training",
    )  # fmt: skip
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")


def add_distance_option(parser: argparse.ArgumentParser) -> None:
    """--distance: the perceptual distance."""
    parser.add_argument(
        "--distance", choices=DISTANCES, default="auto",
        help="perceptual distance; default auto: lpips where its weights are, else efficientnet (docs/evaluation.md)",
    )  # fmt: skip


def sampling_of(options: argparse.Namespace) -> Sampling:
    """The options of `add_sampling_options`; InputError for values that make no sense."""
    require_finite_truncation(options)
    if options.truncation_cutoff is not None and options.truncation_cutoff < 0:
        raise InputError(f"--truncation-cutoff must not be negative, got {options.truncation_cutoff}")
    require_at_least(options, 1, "batch_size")
    classes = tuple(options.classes)
    return Sampling(options.truncation, options.truncation_cutoff, options.noise, options.batch_size, classes)


def settle_output(options: argparse.Namespace, what: str, *settings: str) -> Path:
    """--output, or out/MODEL/WHAT-SETTINGS, so that results of different models and settings never share a folder.

    The place is put in the options. InputError as `find_source`.
    """
    if options.output is None:
        classes = "+".join(options.classes) if getattr(options, "classes", None) else ""
        if "truncation" in options:
            cutoff = "" if options.truncation_cutoff is None else f"-first{options.truncation_cutoff}"
            settings = (f"psi{options.truncation:g}{cutoff}", f"noise_{options.noise}", classes, *settings)
        name = "-".join([what, *(as_file_name(text) for text in settings if text)])
        options.output = Path("out") / source_name(options.checkpoint) / name
    return Path(options.output)


def as_file_name(text: str) -> str:
    """A part of the name of a file or folder: other characters than letters, digits and `.+-_` become `_`."""
    return re.sub(r"[^\w.+-]", "_", text)[:MAX_NAME]


def opened_generator(options: argparse.Namespace) -> Generator:
    """The generator of the options' checkpoint, on their device; InputError for a class that it does not have."""
    generator = load_generator(options.checkpoint, resolve_device(options.device, "--device"))
    for name in options.classes:
        generator.class_index(name)
    return generator


def require_at_least(options: argparse.Namespace, least: int, *names: str) -> None:
    """InputError naming the first of these options that is below `least`."""
    for name in names:
        if getattr(options, name) < least:
            raise InputError(f"--{name.replace('_', '-')} must be at least {least}, got {getattr(options, name)}")


def require_finite_truncation(options: argparse.Namespace) -> None:
    """InputError for a --truncation that is no number."""
    if not math.isfinite(options.truncation):
        raise InputError(f"--truncation must be a finite number, got {options.truncation}")


def parse_numbers(text: str, option: str) -> list[float]:
    """`0,0.5,1` -> numbers; InputError naming the option."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = [math.nan]
    if not all(math.isfinite(number) for number in numbers):
        raise InputError(f"{option} takes numbers such as 0,0.5,1, got {text!r}")
    return numbers


def parse_layers(text: str, generator: Generator) -> list[str]:
    """`all` or names of grouped layers, separated by commas; InputError listing the valid ones."""
    num_groups = generator.synthesis.num_groups()
    names = list(num_groups) if text == "all" else text.split(",")
    for name in names or [text]:
        check_place(name, None, num_groups)
    return names


def parse_groups(text: str, layer: str, generator: Generator) -> list[int]:
    """`all` (that hold channels), or numbers separated by commas; InputError listing the valid ones."""
    num_groups = generator.synthesis.num_groups()
    check_place(layer, None, num_groups)
    if text == "all":
        return generator.grouped_layer(layer).occupied()
    parts = text.split(",")
    if not all(re.fullmatch(r"\s*[0-9]{1,9}\s*", part) for part in parts):
        raise InputError(f"groups are `all` or numbers such as 0,3 (0 to {num_groups[layer] - 1} in {layer}), got {text!r}")
    for part in parts:
        check_place(layer, int(part), num_groups)
    return [int(part) for part in parts]


def load_all_edits(paths: Sequence[Path], generator: Generator) -> list[FileEdit]:
    """The edits of all files, in order."""
    return [edit for path in paths for edit in load_edits(path, generator)]


def reason_to_refuse(command: str, parser: argparse.ArgumentParser, own: Sequence[str], arguments: Sequence[str]) -> str | None:
    """Why a study's options of a command cannot stand beside those that the study gives itself; None when they can.

    own: names of those; one without dashes is a positional argument.
    """
    mark = "given-by-the-study"
    parser.exit_on_error = False
    given = [text for name in own for text in ([name, mark] if name.startswith("-") else [mark])]
    try:
        expected = vars(parser.parse_args(given))
        found, left = parser.parse_known_args([*given, *arguments])
    except (argparse.ArgumentError, argparse.ArgumentTypeError) as error:
        return str(error)
    if left:
        return f"sarigan {command} does not take {' '.join(left)}"
    if any(getattr(found, name) != value for name, value in expected.items() if mark in str(value)):
        return f"{', '.join(own[:-1])} and {own[-1]} are the study's own"
    return None
