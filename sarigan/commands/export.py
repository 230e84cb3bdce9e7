"""Export a trained generator: sarigan export runs/mine exports/mine [--onnx]

Writes generator.safetensors and generator.json, which `load_exported` of `sarigan.exporting.safetensors_export` reads with
PyTorch and safetensors alone. With --onnx also generator.onnx: inputs z [N,z_dim] and truncation_psi, output images [N,3,R,R],
fixed noise.
"""

import argparse
from pathlib import Path

from sarigan.errors import exit_on_input_error
from sarigan.exporting.onnx_export import export_onnx
from sarigan.exporting.safetensors_export import save_exported
from sarigan.files.checkpoint import resolve_checkpoint
from sarigan.pretrained import load_generator_and_record


def main() -> None:
    """Parse, load, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a checkpoint file, a run directory (its newest one), or <run>/best")
    parser.add_argument("destination", type=Path, help="a folder")
    parser.add_argument("--onnx", action="store_true", help="also generator.onnx")
    arguments = parser.parse_args()
    with exit_on_input_error():
        file = resolve_checkpoint(arguments.source)
        generator, state = load_generator_and_record(file)
        seen = state["step"] * state["config"]["training"]["batch_size"] / 1000
        save_exported(generator, arguments.destination, {"checkpoint": file.name, "seen_kimg": seen})
        if arguments.onnx:
            export_onnx(generator, arguments.destination / "generator.onnx")
        for path in sorted(arguments.destination.iterdir()):
            print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
