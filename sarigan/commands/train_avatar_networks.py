"""Train the networks that read avatars: sarigan train_avatar_networks classifier|segmenter [--output FILE.npz]."""

import argparse
import time
from pathlib import Path

import torch

from sarigan.analysis.avatar_training import AvatarTrainingConfig, train_avatar_classifier, train_avatar_segmenter
from sarigan.errors import exit_on_input_error
from sarigan.models.feature_networks.avatar_networks import CLASSIFIER_FILE, SEGMENTER_FILE, save_network


def main() -> None:
    """Train, score on held-out avatars, write weights and their record; Ctrl-C leaves earlier files as they were."""
    parser = argparse.ArgumentParser(description="Train the classifier of attributes or the segmenter of parts of avatars.")
    parser.add_argument("network", choices=["classifier", "segmenter"])
    parser.add_argument("--output", type=Path, help="a .npz file, its .json goes beside; default: the package's own file")
    parser.add_argument("--num-images", type=int, help="avatars to train on; default 24000 and 30000")
    parser.add_argument("--seed", type=int, default=1, help="of the training avatars and of the first weights")
    arguments = parser.parse_args()
    classify = arguments.network == "classifier"
    with exit_on_input_error():
        num_images = arguments.num_images or (24_000 if classify else 30_000)
        config = AvatarTrainingConfig(num_images, seed=arguments.seed, batch_size=64 if classify else 32)
        start = time.process_time()
        try:
            network, scores = (train_avatar_classifier if classify else train_avatar_segmenter)(config)
        except KeyboardInterrupt:
            raise SystemExit("stopped; nothing was written") from None
        path = arguments.output or (CLASSIFIER_FILE if classify else SEGMENTER_FILE)
        command = f"scripts/train_avatar_networks.py {arguments.network} --num-images {num_images} --seed {arguments.seed}"
        record = {
            "names": network.names,
            "widths": list(network.widths),
            "command": f"python {command}",
            "processor_seconds": round(time.process_time() - start),
            "torch": str(torch.__version__),
            "threads": torch.get_num_threads(),
            **scores,
        }
        save_network(network, path, f"avatar_{arguments.network}", record)
    shown = scores["held_out_64"]
    print(f"held out: {shown.get('mean_accuracy', shown.get('mean_iou'))}  written: {path} and {path.with_suffix('.json')}")
