"""Evaluate a checkpoint, or any set of images, against a data set (docs/evaluation.md).

sarigan evaluate --checkpoint runs/quickstart --metrics fd_efficientnet,precision_recall
sarigan evaluate --images FOLDER_OR_LMDB --data DATASET --metrics fid,kid
torchrun --nproc-per-node 8 -m sarigan evaluate ...   shares the work; the result does not depend on the number.
"""

import argparse
import datetime
import logging
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from sarigan import distributed, launcher, load_generator
from sarigan.commands.options import reason_to_refuse
from sarigan.config import Config
from sarigan.data.avatars.dataset import are_avatars
from sarigan.data.loader import ImageDataset, open_dataset, open_images
from sarigan.device import resolve_device
from sarigan.errors import InputError
from sarigan.exporting.source import find_source
from sarigan.files.checkpoint import step_of
from sarigan.files.paths import output_file
from sarigan.files.picture_origin import HEAD_BYTES, mixture_warning
from sarigan.metrics.catalogue import METRICS, Report, evaluate, metrics_named
from sarigan.metrics.config import EvaluationConfig
from sarigan.metrics.evaluation import Evaluation
from sarigan.metrics.statistics_cache import StatisticsCache, default_folder
from sarigan.models.feature_networks.feature_network import PREPROCESSINGS
from sarigan.pretrained import load_judged, results_folder

NUM_AVATARS = 10_000  # generated and real: minutes on two cores
log = logging.getLogger(__name__)


def main() -> None:
    options = parser().parse_args()
    launcher.watch_launcher()
    try:
        with distributed.rank_main(), distributed.process_group():
            run(options)
    except KeyboardInterrupt:
        print("stopped; metrics and statistics of real images that were finished are kept", file=sys.stderr)
        raise SystemExit(130) from None


def run(options: argparse.Namespace) -> None:
    """Open what the options name, evaluate, print and write."""
    with ExitStack() as opened:
        with distributed.raise_on_all_ranks():
            names = names_of(options.metrics)
            evaluation = open_evaluation(options, names)
            path = options.output or default_output(options)
            if distributed.is_main():
                opened.enter_context(output_file(path))
        publish(evaluate(evaluation, names, lambda report: keep(report, path)), path)


def keep(report: Report, path: Path) -> None:
    """Write what is finished so far, in case something ends this process; with a failure, print it as well."""
    if report.failure is not None:
        publish(report, path)
    elif distributed.is_main():
        with suppress(InputError):  # the last one to write says so, after the table
            report.write(path)


def publish(report: Report, path: Path) -> None:
    """Print and write, on rank 0."""
    if distributed.is_main():
        print(report.table(), flush=True)  # first of all: hours of work, and the disk may be full by now
        report.write(path)
        print(f"written to {path}", flush=True)


def names_of(text: str) -> list[str]:
    """Names of metrics separated by commas; InputError for none, or one that is not there."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise InputError(f"--metrics must name at least one of {', '.join(METRICS)}, got {text!r}")
    metrics_named(names)
    return names


def open_evaluation(options: argparse.Namespace, names: Sequence[str]) -> Evaluation:
    """Everything that the options name, opened."""
    device = resolve_device(options.device, "--device")
    judged, trained_with = load_judged(options.checkpoint, device) if options.checkpoint else ({}, None)
    generator = judged.get("generator")
    images = open_images(options.images) if options.images else None
    warn_of_mixture(images)
    data = open_data(options, trained_with, None if generator is None else generator.config.resolution)
    options.num_images, options.num_real_images = default_counts(options, data)
    config = EvaluationConfig(
        options.num_images, options.num_real_images, options.preprocessing, options.truncation_psi, options.seed,
        options.batch_size, options.num_workers, options.inception_weights, options.dinov2_weights,
    )  # fmt: skip
    return Evaluation(
        config,
        device,
        images=images,
        data=data,
        cache=StatisticsCache(None if options.no_cache else default_folder()),
        show_progress=True,
        arguments=vars(options),
        seen_kimg=seen_kimg(options.checkpoint, trained_with),
        other_generator=load_generator(options.stability_checkpoint, device) if options.stability_checkpoint else None,
        **judged,
    )


def seen_kimg(checkpoint: Path | None, trained_with: Config | None) -> float | None:
    """Thousands of images that training had shown a checkpoint, by the step in its name; None for anything else."""
    step = step_of(find_source(checkpoint)) if checkpoint else None
    return None if step is None or trained_with is None else step * trained_with.training.batch_size / 1000


def default_counts(options: argparse.Namespace, data: ImageDataset | None) -> tuple[int, int | None]:
    """How many images to generate and of real ones at most; where avatars, which are endless, decide a number, it is logged."""
    generated, real = options.num_images, options.num_real_images
    if data is None or not are_avatars(data) or len(data) <= NUM_AVATARS:
        return 50_000 if generated is None else generated, real
    chosen = {"--num-images": generated, "--num-real-images": real}
    missing = [name for name, count in chosen.items() if count is None]
    if missing and distributed.is_main():
        log.warning(f"avatars are endless: {' and '.join(missing)} {NUM_AVATARS}; protocols of the papers have 50000 and all")
    return NUM_AVATARS if generated is None else generated, NUM_AVATARS if real is None else real


def warn_of_mixture(images: ImageDataset | None) -> None:
    """Log a line, on rank 0, where files of images say that they come of several models or settings."""
    if images is None or not distributed.is_main() or not hasattr(images, "heads"):
        return
    if warning := mixture_warning(images.heads(HEAD_BYTES), images.describe()):
        log.warning(warning)


def open_data(options: argparse.Namespace, trained_with: Config | None, resolution: int | None) -> ImageDataset | None:
    """--data, else what the checkpoint was trained on, as training saw it but not mirrored.

    resolution: of a generator, whose training is perhaps unknown.
    """
    if trained_with is not None:
        resolution = trained_with.resolution
        return open_images(options.data, resolution) if options.data else open_dataset(trained_with.data, resolution)
    if not options.data:
        return None
    return open_beside(options.images, options.data) if options.images else open_images(options.data, resolution)


def open_beside(images: Path, data: str) -> ImageDataset:
    """The set to compare images with, in their size; InputError that says which of both to prepare in the smaller size."""
    wanted = open_images(images).resolution
    try:
        return open_images(data, wanted)
    except InputError:
        if data == "avatars" or (stored := open_images(data).resolution) == wanted:  # then the size was not what was wrong
            raise
    larger = images if wanted > stored else data
    raise InputError(
        f"the images are {wanted}x{wanted}, the set {stored}x{stored}: prepare {larger} at {min(wanted, stored)} first"
        f" (scripts/prepare_data.py {larger} NEW --resolution {min(wanted, stored)})"
    )


def default_output(options: argparse.Namespace) -> Path:
    """<run>/evaluation/<checkpoint>-<time>.json, out/evaluation-<time>.json for a set of images."""
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    if not options.checkpoint:
        return Path("out") / f"evaluation-{now}.json"
    return results_folder(options.checkpoint) / "evaluation" / f"{find_source(options.checkpoint).stem}-{now}.json"


def refused_options(arguments: Sequence[str]) -> str | None:
    """Why these options cannot stand beside --checkpoint, --metrics and --output of a study; None when they can."""
    return reason_to_refuse("evaluate", parser(), ("--checkpoint", "--metrics", "--output"), arguments)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    width = max(map(len, METRICS))
    listed = "\n".join(f"  {metric.name:{width}}  {metric.summary}" for metric in METRICS.values())
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], epilog=f"metrics:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    judged = parser.add_mutually_exclusive_group(required=True)
    judged.add_argument("--checkpoint", type=Path, help="a checkpoint file, a run directory (its newest), or a model")
    judged.add_argument("--images", type=Path, help="a folder, a zip file or a prepared set of images, of any model")
    parser.add_argument("--data", help="real images: folder, zip file, prepared set, or avatars; default: what was trained on")
    parser.add_argument("--metrics", default="fid,kid,precision_recall", help="names with commas between, see below")
    parser.add_argument("--num-images", type=int, help="to generate, or at most of --images; default 50000, 10000 of avatars")
    parser.add_argument("--num-real-images", type=int, help="at most; default: all, 10000 of avatars")
    parser.add_argument("--preprocessing", default="tf", help=f"{', '.join(PREPROCESSINGS)}; default tf")
    parser.add_argument("--truncation-psi", type=float, default=1.0, help="1 (default): none, as in the papers' numbers")
    parser.add_argument("--inception-weights", type=Path, help="file of weights for fid, kid and inception_score")
    parser.add_argument("--dinov2-weights", type=Path, help="file of weights for fd_dinov2 and its like")
    parser.add_argument("--seed", type=int, default=0, help="of latents, noise and subsets")
    parser.add_argument("--batch-size", type=int, default=32, help="images at a time in each process")
    parser.add_argument("--num-workers", type=int, default=2, help="processes that decode images")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--no-cache", action="store_true", help="compute the statistics of real images anew, keep nothing")
    parser.add_argument("--output", type=Path, help="JSON file; default in the run's directory, of --images in out/")
    for metric in METRICS.values():
        metric.add_arguments(parser.add_argument_group(metric.name).add_argument)
    return parser
