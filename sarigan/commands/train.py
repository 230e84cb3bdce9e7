"""Train: sarigan train --config configs/quickstart.yaml [--run-dir runs/NAME] [section.key=value ...]."""

# isort: split
from sarigan.runs import early_exit  # noqa: F401, before the imports that take seconds

# isort: split
import argparse
import logging
from pathlib import Path

from sarigan import distributed
from sarigan.config import Config, load_config
from sarigan.diagnosis.estimate import estimate_lines
from sarigan.errors import InputError
from sarigan.runs.evaluation_hook import describe_metrics
from sarigan.runs.resume import resume_summary
from sarigan.runs.run import refuse_what_training_would, train
from sarigan.runs.summary import data_summary, dry_run_report, end_reason
from sarigan.training.precision import resolve_precision
from sarigan.training.state import TrainingState


def main() -> None:
    """Parse, load the configuration, train or report what would be done."""
    parser = argparse.ArgumentParser(description="Train a generator. The same command goes on with a stopped run.")
    parser.add_argument("--config", type=Path, required=True, help="a YAML file of configs/")
    parser.add_argument("--run-dir", type=Path, help="where everything goes; default runs/<name of the config>")
    parser.add_argument("--dry-run", action="store_true", help="tell model, data, time and memory; refuse what would fail")
    parser.add_argument("--processes", type=int, help="of a dry run: refuse what would fail with so many")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="e.g. training.batch_size=16")
    arguments = parser.parse_intermixed_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with distributed.rank_main(), distributed.process_group():
        with distributed.raise_on_all_ranks():
            config = load_config(arguments.config, arguments.overrides)
        run_dir = arguments.run_dir or Path("runs") / arguments.config.stem
        if arguments.dry_run:
            with distributed.raise_on_all_ranks():
                data = data_summary(config, required=arguments.processes is not None)
                missing = data.startswith("missing: ")
                if not missing:
                    config, dataset = config.open_data()  # classes, or one picture, decide the size of the networks
                state = TrainingState(config, resolve_precision(config.training))
                resumed = resume_summary(config, run_dir) if distributed.is_main() else None
                report = dry_run_report(config, state, data, arguments.processes, resumed)
                if not missing:
                    num_ranks = arguments.processes or distributed.world_size()
                    refuse_what_training_would(config, dataset, state, run_dir, resumed is not None, num_ranks)
                    report = "\n".join([report, *estimate_lines(config, dataset, run_dir, arguments.processes)])
            if distributed.is_main():
                print(report)
            if missing:
                raise InputError(data.removeprefix("missing: "))
            return
        train_and_tell(config, run_dir)


def train_and_tell(config: Config, run_dir: Path) -> None:
    """Train, and print where the results are."""
    try:
        trainer = train(config, run_dir)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    if not distributed.is_main():
        return
    done = "finished" if trainer.state.step >= trainer.total_steps else "stopped"
    print(f"{done} at {trainer.state.seen_kimg:.1f} kimg after {trainer.state.seconds / 60:.1f} minutes of training")
    print(f"because:     {end_reason(trainer)}")
    for line in describe_metrics(run_dir):
        print(line)
    print(f"samples:     {run_dir / 'samples'}")
    print(f"checkpoints: {run_dir / 'checkpoints'}")
    print(f"log:         {run_dir / 'log.jsonl'}, and tensorboard --logdir {run_dir / 'tensorboard'}")
