"""Find the latents of a given image (docs/editing.md).

sarigan project runs/quickstart photo.png --space codes --output out/projection
sarigan generate runs/quickstart --noise fixed --latents out/projection/latents.npz --edit out/projection/edits.json
Writes latents.npz, reconstruction.png, progress.png, and with --space codes the codes of all groups as edits.json.
"""

import argparse
from pathlib import Path

from PIL import Image

from sarigan import load_generator
from sarigan.commands.options import add_distance_option, settle_output
from sarigan.device import resolve_device
from sarigan.editing.edit_file import save_edits, save_latents
from sarigan.editing.projection import SPACES, ProjectionConfig, project
from sarigan.errors import exit_on_input_error
from sarigan.files.paths import output_folder
from sarigan.models.feature_networks.perceptual import open_perceptual_distance
from sarigan.visualization.editing import load_target, projection_strip
from sarigan.visualization.sheet import pictures


def main() -> None:
    parser = argparse.ArgumentParser(description="Find the latents of an image.")
    parser.add_argument("checkpoint", type=Path, help="a run directory, a checkpoint file or a model, as avatars_64")
    parser.add_argument("image", type=Path, help="its centre square is resized to the generator's resolution")
    parser.add_argument("--space", choices=SPACES, default="w", help="one w, one w a layer, or also the codes of every group")
    parser.add_argument("--steps", type=int, default=300, help="in each space; default 300")
    parser.add_argument("--learning-rate", type=float, default=0.05)
    parser.add_argument("--pixel-weight", type=float, default=1.0, help="of the mean squared error of pixels")
    add_distance_option(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--output", type=Path, metavar="DIR", help="default out/MODEL/projection-IMAGE")
    options = parser.parse_args()
    with exit_on_input_error(), output_folder(settle_output(options, "projection", options.image.stem)):
        config = ProjectionConfig(options.space, options.steps, options.learning_rate, pixel_weight=options.pixel_weight)
        device = resolve_device(options.device, "--device")
        generator = load_generator(options.checkpoint, device)
        target = load_target(options.image, generator.config.resolution).to(device)
        distance = open_perceptual_distance(device, options.distance)
        found = project(generator, target, distance, config, show_progress=True)
        average = generator.synthesize(generator.mean_latent.expand(1, generator.num_latents, -1), "fixed").images
        error, scale = (float((image - target).abs().mean()) * 127.5 for image in (found.image, average))
        caption = f"Space {config.space}, {distance.name} + {config.pixel_weight:g} MSE; mean |difference| {error:.1f} of 255"
        caption += f" (that of the model's mean image, where the search began: {scale:.1f})."
        save_latents(options.output / "latents.npz", generator, found.latents)
        if found.edits:
            save_edits(found.edits, generator, options.output / "edits.json")
        Image.fromarray(pictures(found.image)[0]).save(options.output / "reconstruction.png")
        projection_strip(target, found.progress, found.image, caption).save(options.output / "progress.png")
        print(caption)
        print(options.output / "progress.png")
