"""Export a trained model: sarigan export runs/mine exports/mine [--onnx] [--format safetensors|rosinality|nvidia_state]

safetensors (the default): a folder with generator.safetensors and generator.json, which `load_exported` of
`sarigan.exporting.safetensors_export` reads with PyTorch and safetensors alone. With --onnx also generator.onnx: inputs
z [N,z_dim] and truncation_psi, output images [N,3,R,R], fixed noise.
rosinality, nvidia_state: a file of state dictionaries that other people's code loads (docs/checkpoints.md).
"""

import argparse
from pathlib import Path

from sarigan.errors import InputError, exit_on_input_error
from sarigan.exporting.foreign_export import FORMATS, save_foreign
from sarigan.exporting.onnx_export import export_onnx
from sarigan.exporting.safetensors_export import save_exported
from sarigan.files.checkpoint import resolve_checkpoint
from sarigan.pretrained import load_generator_and_record, load_system, require_style


def main() -> None:
    """Parse, load, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a checkpoint file, a run directory (its newest one), or <run>/best")
    parser.add_argument("destination", type=Path, help="a folder; of the formats of other people's code a file")
    parser.add_argument("--format", choices=["safetensors", *FORMATS], default="safetensors", help="default safetensors")
    parser.add_argument("--onnx", action="store_true", help="also generator.onnx")
    arguments = parser.parse_args()
    with exit_on_input_error():
        file = resolve_checkpoint(arguments.source)
        if arguments.format != "safetensors":
            if arguments.onnx:
                raise InputError(f"--onnx goes with --format safetensors, got --format {arguments.format}")
            export_foreign(file, arguments.destination, arguments.format)
            return
        generator, state = load_generator_and_record(file)
        seen = state["step"] * state["config"]["training"]["batch_size"] / 1000
        save_exported(generator, arguments.destination, {"checkpoint": file.name, "seen_kimg": seen})
        if arguments.onnx:
            export_onnx(generator, arguments.destination / "generator.onnx")
        for path in sorted(arguments.destination.iterdir()):
            print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


def export_foreign(file: Path, destination: Path, kind: str) -> None:
    """Write a checkpoint's generator, its average and its discriminator for other people's code, and print what differs."""
    if destination.is_dir():
        raise InputError(f"{destination}: a folder; --format {kind} writes one file, such as {destination / 'model.pt'}")
    system, config = load_system(file)
    style = require_style(config, file)
    try:
        state, notes = FORMATS[kind](
            system.averages["ema_generator"].module, system.networks["generator"], system.networks["discriminator"],
            style.discriminator,
        )  # fmt: skip
    except InputError as error:
        raise InputError(f"{file}: cannot be written as {kind}: {error}") from None
    save_foreign(state, destination)
    for note in notes:
        print(f"note: {note}")
    print(f"{destination}: {destination.stat().st_size / 1e6:.1f} MB")
