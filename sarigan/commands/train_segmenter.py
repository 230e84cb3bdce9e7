"""Train the small segmenter that judges images made from layouts (docs/layouts.md).

sarigan train_segmenter configs/camvid_256_spade.yaml --output segmenters/camvid.npz
Trains on the configuration's training set, scores on its held-out layouts, and writes a .npz with its .json beside. Name it as
held_out.segmenter, or with --segmenter of sarigan evaluate.
"""

import argparse
import time
from pathlib import Path

import torch

from sarigan.analysis.segmenter_training import SegmenterTrainingConfig, score_segmenter, train_segmenter
from sarigan.config import load_config
from sarigan.errors import InputError, exit_on_input_error
from sarigan.files.paths import output_file
from sarigan.models.feature_networks.avatar_networks import save_network
from sarigan.models.feature_networks.layout_segmenter import KIND
from sarigan.systems.semantic_layout.synthesis import HeldOutLayouts
from sarigan.systems.semantic_layout.system import SemanticLayoutConfig


def main() -> None:
    """Train, score, write; Ctrl-C leaves earlier files as they were."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="a configuration of system: semantic_layout")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="e.g. data.path=FOLDER")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="a .npz file")
    parser.add_argument("--num-images", type=int, default=30_000, help="to see while training; default 30000")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1, help="of the first weights and the order of images")
    options = parser.parse_args()
    with exit_on_input_error():
        if options.output.suffix != ".npz":
            raise InputError(f"--output must be a .npz file, got {options.output}")
        config = load_config(options.config, options.overrides)
        if not isinstance(config, SemanticLayoutConfig):
            raise InputError(
                f"{options.config}: is of system {config.system!r}; a segmenter needs one of system: semantic_layout"
            )
        recipe = SegmenterTrainingConfig(options.num_images, options.batch_size, seed=options.seed)
        with output_file(options.output):
            dataset = config.data.open(config.resolution)
            held_out = HeldOutLayouts(config.data, config.held_out, config.resolution)
            names = config.data.class_names()
            start = time.process_time()
            try:
                network = train_segmenter(dataset, config.data, names, config.image_size, recipe)
            except KeyboardInterrupt:
                raise SystemExit("stopped; nothing was written") from None
            score = score_segmenter(network, held_out.images, len(held_out))
            record = {
                "names": network.names, "widths": list(network.widths), "size": list(network.size),
                "data": dataset.describe(), "held_out_data": held_out.images.describe(), "held_out": score,
                "num_images": options.num_images, "batch_size": options.batch_size, "seed": options.seed,
                "processor_seconds": round(time.process_time() - start), "torch": str(torch.__version__),
            }  # fmt: skip
            save_network(network, options.output, KIND, record)
    print(f"held out: mean IoU {score['mean_iou']}, pixel accuracy {score['pixel_accuracy']}; written: {options.output}")
