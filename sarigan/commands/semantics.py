"""Are the groups of models semantic? Every score beside random groups and groups made afterwards (docs/study.md).

sarigan semantics runs/quickstart
sarigan semantics runs/seed0 runs/seed1            # and: do two seeds find the same groups?
Writes semantics.json and semantics.md; those of one model to <run>/analysis, with locality-<layer>.json for `sarigan report`.
"""

import argparse
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from sarigan.analysis.part_iou import doubt, masks_of, parts_named
from sarigan.analysis.semantics import LayerSemantics, Seen, SemanticsConfig, groupable_layers, measure_semantics
from sarigan.analysis.semantics_report import markdown, semantics_record
from sarigan.commands.options import add_sampling_options, as_file_name, reason_to_refuse, require_at_least, sampling_of
from sarigan.device import resolve_device
from sarigan.editing.rendering import Sampling, render
from sarigan.errors import InputError, exit_on_input_error
from sarigan.exporting.source import find_source
from sarigan.files.paths import output_folder, replace_text
from sarigan.layers.intervention import check_layer
from sarigan.models.feature_networks.avatar_networks import load_avatar_classifier
from sarigan.models.generator import Generator
from sarigan.pretrained import data_name, load_generator_and_record, results_folder, source_name

log = logging.getLogger(__name__)


def main() -> None:
    options = parser().parse_args()
    with exit_on_input_error():
        names = model_names(options.checkpoint)
        folder = options.output or default_folder(options.checkpoint, names)
        with output_folder(folder):
            measure(options, names, folder)


def refused_options(arguments: Sequence[str]) -> str | None:
    """Why these options cannot stand beside MODEL and --output of a study; None when they can."""
    return reason_to_refuse("semantics", parser(), ("MODEL", "--output"), arguments)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure how semantic the groups of models are, against random groups.")
    add_sampling_options(parser, psi=1.0, several=True)
    parser.add_argument("--layer", default="all", help="names of layers, separated by commas; default all")
    parser.add_argument("--images", type=int, default=64, help="that are edited: seeds 0, 1, ...; default 64")
    parser.add_argument(
        "--information-images", type=int, default=1024, help="whose attributes are read from codes; default 1024"
    )
    parser.add_argument("--permutations", type=int, default=200, help="of channels, where nothing is edited; default 200")
    parser.add_argument("--partitions", type=int, default=20, help="random partitions that are edited too; default 20")
    parser.add_argument("--groups", type=int, help="of layers without groups; default a quarter of the channels, at most 16")
    parser.add_argument(
        "--parts", default="auto",
        help="auto: the networks of avatars, for models of avatars alone; avatars: for any model; FILE.npz with masks, names",
    )  # fmt: skip
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="default <run>/analysis; of several models out/semantics-..."
    )
    return parser


def model_names(sources: list[Path]) -> dict[str, Path]:
    """The models by the names they have in the results; InputError as `find_source`, and for one that is given twice."""
    names = {source_name(source): source for source in sources}
    if len(names) < len(sources):
        raise InputError(f"models are compared with one another: {len(sources)} were given, of which {len(names)} differ")
    return names


def default_folder(sources: list[Path], names: dict[str, Path]) -> Path:
    """Results of one model go to its own folder, those of several to one that names them."""
    if len(sources) == 1:
        return results_folder(sources[0]) / "analysis"
    return Path("out") / as_file_name(f"semantics-{'+'.join(names)}")


def measure(options: argparse.Namespace, names: dict[str, Path], folder: Path) -> None:
    """Every model, then all of them together."""
    sampling, started = sampling_of(options), time.monotonic()
    require_at_least(options, 2, "images", "permutations", "partitions")
    require_at_least(options, 64, "information_images")
    if options.groups is not None:
        require_at_least(options, 1, "groups")
    if len(names) > 1 and options.parts not in ("auto", "avatars"):
        raise InputError(f"--parts {options.parts}: masks belong to the images of one model, {len(names)} models were given")
    config = SemanticsConfig(
        options.permutations, options.partitions, num_groups=options.groups, batch_size=sampling.batch_size
    )  # fmt: skip
    models: dict[str, dict[str, LayerSemantics]] = {}
    for name, source in names.items():
        file = find_source(source)
        generator, origin = load_generator_and_record(file, resolve_device(options.device, "--device"))
        kernels = groupable_layers(generator)
        layers = list(kernels) if options.layer == "all" else options.layer.split(",")
        for layer in layers:
            check_layer(layer, dict.fromkeys(kernels, 0))
        trained_on = data_name(origin)
        seen = look(options, sampling, generator, file, trained_on)
        models[name] = measure_semantics(generator, layers, seen, config, show_progress=True)
        if len(names) == 1:
            for layer, measured in models[name].items():
                if measured.locality is not None:
                    shown = {"checkpoint": file.name, "trained_on": trained_on, "psi": options.truncation}
                    record = {**shown, **measured.locality}
                    replace_text(folder / f"locality-{layer}.json", json.dumps(record, indent=1) + "\n")
    settings: dict[str, Any] = {
        "images": options.images, "information images": options.information_images, "psi": options.truncation,
        "permutations": options.permutations,
        "partitions edited": options.partitions, "threads": torch.get_num_threads(),
        "seconds": round(time.monotonic() - started),
    }  # fmt: skip
    record = semantics_record(models, options.permutations, settings)
    text = markdown(record)
    replace_text(folder / "semantics.json", json.dumps(record, indent=1) + "\n")
    replace_text(folder / "semantics.md", text)
    print(text)
    print(folder / "semantics.md")


def look(
    options: argparse.Namespace, sampling: Sampling, generator: Generator, file: Path, trained_on: str | None
) -> Seen:  # fmt: skip
    """Images of a model and what names their parts and attributes; InputError where nothing names parts."""
    parts = parts_named(options.parts, trained_on)
    if parts is None:
        raise InputError(
            f"--parts: nothing here names the parts of {file.name}, a model of {trained_on or 'unknown data'}; give masks of"
            " its images (--parts FILE.npz), or --parts avatars to have the networks of avatars read them all the same"
        )
    warning = doubt(parts, trained_on)
    if warning:
        log.warning(f"warning: {warning}")
    latents = sampling.latents(generator, range(options.images))
    masks = masks_of(parts, render(generator, latents, "fixed", batch_size=sampling.batch_size))
    if parts != "avatars":
        log.warning("nothing names attributes of these images: no disentanglement and no information per group")
        return Seen(latents, masks)
    classifier = load_avatar_classifier()
    seeds = range(options.images, options.images + options.information_images)
    many = sampling.latents(generator, seeds)
    images = render(generator, many, "fixed", batch_size=sampling.batch_size)
    with torch.no_grad():
        logits = torch.cat([classifier(part) for part in images.split(64)])
    return Seen(latents, masks, classifier, many, logits)
