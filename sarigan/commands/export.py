"""Export a trained model: sarigan export runs/mine exports/mine [--half] [--grid] [--onnx]

Writes generator.safetensors and generator.json, which `sarigan.from_pretrained` reads with PyTorch and safetensors alone, and
README.md, the model card. With --discriminator also discriminator.safetensors, for a training that begins with the model
(training.init_from). With --onnx also generator.onnx: inputs z [N,z_dim] and truncation_psi, with classes also labels [N],
output images [N,3,R,R], fixed noise. docs/sharing.md tells more.
--format rosinality or nvidia_state writes a file of state dictionaries that other people's code loads (docs/checkpoints.md).
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from sarigan.config import config_from_dict
from sarigan.editing.rendering import Sampling
from sarigan.errors import InputError, exit_on_input_error
from sarigan.exporting.foreign_export import FORMATS, save_foreign
from sarigan.exporting.model_card import origin_of, write_model_card
from sarigan.exporting.onnx_export import export_onnx
from sarigan.exporting.rounding import measure_rounding
from sarigan.exporting.safetensors_export import DISCRIMINATOR_NAME, half_weights, load_discriminator_weights, save_exported
from sarigan.exporting.source import find_source
from sarigan.files.paths import output_file, output_folder
from sarigan.files.reading import reading
from sarigan.importing.foreign_file import load_state
from sarigan.models.discriminator import DiscriminatorConfig
from sarigan.pretrained import load_generator, load_generator_and_record, load_system, require_style
from sarigan.visualization.samples import save_samples

GRID_SEEDS = range(32)
GRID_NAME = "grid.png"


def main() -> None:
    """Parse, load, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a checkpoint file, a run directory (its newest one), <run>/best, or a model")
    parser.add_argument("destination", type=Path, help="a folder; for other people's code a file")
    parser.add_argument("--format", choices=["safetensors", *FORMATS], default="safetensors", help="default safetensors")
    parser.add_argument("--half", action="store_true", help="weights rounded to float16: half the bytes")
    parser.add_argument(
        "--discriminator", action="store_true", help=f"also {DISCRIMINATOR_NAME}, for trainings that begin with the model"
    )
    parser.add_argument("--grid", action="store_true", help=f"also {GRID_NAME}, samples that the model card shows")
    parser.add_argument("--onnx", action="store_true", help="also generator.onnx")
    parser.add_argument("--license", metavar="NAME", help="of the weights, such as apache-2.0, for the model card")
    parser.add_argument("--limits", default="", metavar="TEXT", help="one more line of the model card's limits")
    options = parser.parse_args()
    with exit_on_input_error():
        if options.format != "safetensors":
            export_foreign(options)
            return
        with output_folder(options.destination, "DESTINATION"):
            export(options)
            for path in sorted(options.destination.iterdir()):
                print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


def export_foreign(options: argparse.Namespace) -> None:
    """Write a model's generator, its average and its discriminator for other people's code, and print what differs."""
    destination, kind = options.destination, options.format
    for option in ("half", "discriminator", "grid", "onnx", "license", "limits"):
        if getattr(options, option):
            raise InputError(f"--{option} goes with --format safetensors, got --format {kind}")
    source = find_source(options.source)
    networks: tuple[Any, ...]
    if source.is_dir():  # of an export, which is an average alone
        average, discriminator = load_generator(source), DiscriminatorConfig()
        networks = (average, average, None)
    else:
        system, config = load_system(source)
        discriminator = require_style(config, source).discriminator
        networks = (system.averages["ema_generator"].module, system.networks["generator"], system.networks["discriminator"])
    with output_file(destination, "DESTINATION"), reading(source, f"model for the format {kind}"):
        state, notes = FORMATS[kind](*networks, discriminator)
        save_foreign(state, destination)
    for note in notes:
        print(f"note: {note}")
    print(f"{destination}: {destination.stat().st_size / 1e6:.1f} MB")


def export(options: argparse.Namespace) -> None:
    """Everything that the options ask for, the model card last."""
    file, folder = find_source(options.source), options.destination
    generator, record = load_generator_and_record(file)
    origin = origin_of(file, record)
    method = config_from_dict(origin["config"], str(file)).method() if "config" in origin else "A style-based generator"
    if options.half:
        origin["rounding"] = str(measure_rounding(generator, half_weights(generator)))
    discriminator = discriminator_weights(file) if options.discriminator else None
    save_exported(generator, folder, origin, options.half, discriminator)
    if options.grid:
        sampling = Sampling(1.0, None, "fixed", 8)
        latents = sampling.latents_on_demand(generator, GRID_SEEDS)
        save_samples(generator, sampling, latents, GRID_SEEDS, [], folder, num_columns=8, grid_only=True)
    if options.onnx:
        export_onnx(generator, folder / "generator.onnx")
    licence = record.get("imported", {}).get("licence")  # of weights of somebody else
    limits = " ".join(text for text in (options.limits, f"Licence of the weights: {licence}." if licence else "") if text)
    write_model_card(folder, generator, origin, method, options.license, limits, GRID_NAME if options.grid else None)


def discriminator_weights(file: Path) -> Mapping[str, Tensor]:
    """Of a source as `find_source` returns it; InputError where it holds none."""
    if file.is_dir():
        weights = load_discriminator_weights(file)
    else:
        state = load_state(file)
        drawn = "discriminator" in state.get("imported", {}).get("missing", ())  # by the import, for want of another
        weights = None if drawn else state.get("discriminator")
    if weights is None:
        raise InputError(f"{file}: holds no discriminator; export without --discriminator")
    return weights
