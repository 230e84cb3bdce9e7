"""A study of several configurations with several seeds (docs/study.md): sarigan study run|status|table|plot STUDY.yaml

run     trains and evaluates what is not done yet; stopped or killed, the same command goes on. Several may work on one study.
status  says of every run whether it is done, under way, failed or open.
table   writes STUDY_table.md and STUDY_table.json: means, spreads, paired differences to the baseline.
plot    writes STUDY_figures/<metric>.png and STUDY.html.
"""

# isort: split
from sarigan.runs import early_exit  # noqa: F401, before the imports that take seconds

# isort: split
import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from sarigan.commands import evaluate, semantics
from sarigan.errors import InputError, exit_on_input_error
from sarigan.files.lock import require_unlocked
from sarigan.files.paths import output_file, output_folder, replace_text
from sarigan.signals import handling
from sarigan.studies.figures import write_figures, write_page
from sarigan.studies.plan import Run, chosen, leftovers, plan
from sarigan.studies.runner import Runner
from sarigan.studies.slots import slots, visible_gpus
from sarigan.studies.slurm import slurm_array
from sarigan.studies.study import Study, read_study
from sarigan.studies.table import tabulate, to_markdown

OPEN, HELD, FAILED, TRAINED, DONE = "open", "under way", "failed", "trained, not evaluated", "done"


def main() -> None:
    options = parse()
    with exit_on_input_error():
        study = read_study(options.study)
        check_options(study)
        root = options.folder or Path("runs") / "studies" / study.path.stem
        runs = plan(study, root)
        ACTIONS[options.action](runs, options)


def run(runs: Sequence[Run], options: argparse.Namespace) -> None:
    """Work until nothing is left, or write the Slurm array that does."""
    runs = chosen(runs, options.only)
    root, study = runs[0].root, runs[0].study
    if options.slurm:
        with output_file(options.slurm, "--slurm"):
            replace_text(options.slurm, slurm_array(runs, Path.cwd()))
        print(f"{options.slurm}: {len(runs)} tasks; submit it with sbatch")
        return
    gpus = [] if all(run.config.training.device == "cpu" for run in runs) else visible_gpus()
    with output_folder(root, "--folder"):
        runner = Runner([run.job() for run in runs], slots(options.jobs, study.processes, gpus), study.free_gb * 1e9, tell)
        done = sum(job.is_done() for job in runner.jobs)
        tell(f"{study.path.name}: {len(runs)} runs, {done} done before; {len(runner.slots)} at one time, in {root}")

        def stop(number: int, frame: FrameType | None) -> None:
            runner.request_stop()

        with handling(stop):
            failed = runner.run()
    if runner.stop_requested:
        tell("stopped; the same command goes on")
        return
    if failed:
        lines = "; ".join(f"{job.name}: {job.failure().get('line')}" for job in failed)
        raise InputError(
            f"{len(failed)} of {len(runs)} runs failed, the others are done: {lines}; the same command tries again"
        )
    tell(f"all {len(runs)} runs are done: sarigan study table {study.path}")


def status(runs: Sequence[Run], options: argparse.Namespace) -> None:
    """One line a run, and a count."""
    states = {run.name: state_of(run) for run in runs}
    width = max(map(len, states))
    for name, state in states.items():
        print(f"{name:<{width}}  {state}")
    counts = Counter(state.partition(":")[0] for state in states.values())
    print(", ".join(f"{count} {state}" for state, count in counts.items()))
    for name in leftovers(runs, runs[0].root):
        print(f"{runs[0].root / name}: of a configuration that the study no longer has; its results are not in the table")


def state_of(run: Run) -> str:
    """What a run's folder tells; changes nothing."""
    job = run.job()
    if job.is_done():
        return DONE
    try:
        require_unlocked(run.folder)
    except InputError:
        return HELD
    if failure := job.failure():
        return f"{FAILED}: {failure.get('line')}"
    return TRAINED if run.is_trained() else OPEN


def table(runs: Sequence[Run], options: argparse.Namespace) -> None:
    """Print and write the table of what is finished."""
    root, tabulated, name = runs[0].root, tabulate(runs), runs[0].study.path.stem
    text = to_markdown(tabulated)
    print(text)
    with output_folder(root, "--folder"):
        replace_text(root / f"{name}_table.md", text)
        replace_text(root / f"{name}_table.json", json.dumps(tabulated, indent=1) + "\n")
    print(f"written to {root / name}_table.md and {name}_table.json")


def plot(runs: Sequence[Run], options: argparse.Namespace) -> None:
    """Write figures and page of what is finished."""
    root, tabulated, name = runs[0].root, tabulate(runs), runs[0].study.path.stem
    if not tabulated["metrics"]:
        raise InputError(f"{root}: holds no finished run of {runs[0].study.path} yet; sarigan study run makes them")
    with output_folder(root, "--folder"):
        figures = write_figures(tabulated, root / f"{name}_figures")
        write_page(tabulated, runs, figures, root / f"{name}.html")
    print(f"figures: {root / name}_figures\npage:    {root / name}.html")


ACTIONS = {"run": run, "status": status, "table": table, "plot": plot}


def check_options(study: Study) -> None:
    """InputError for options that `evaluate` or `semantics` does not take from a study: better now than after the training."""
    for field, command, given in (("evaluation", evaluate, study.evaluation), ("semantics", semantics, study.semantics or ())):
        reason = command.refused_options(given)
        if reason:
            raise InputError(f"{study.path}: {field}: {reason}")


def tell(line: str) -> None:
    """Print at once, also into a file."""
    print(line, flush=True)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], epilog="\n".join((__doc__ or "").splitlines()[2:]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("action", choices=ACTIONS)
    parser.add_argument("study", type=Path, help="a YAML file such as those of studies/")
    parser.add_argument("--folder", type=Path, help="where everything goes; default runs/studies/<name of the study>")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="of `run`: a variant or a run; repeatable")
    parser.add_argument("--jobs", type=int, help="of `run`: runs at one time; default one a GPU, else one a core")
    parser.add_argument("--slurm", type=Path, metavar="FILE", help="of `run`: write a Slurm array instead, one task a run")
    options = parser.parse_args()
    if options.action != "run" and (options.only or options.jobs is not None or options.slurm):
        print(f"error: --only, --jobs and --slurm are options of run, got {options.action}", file=sys.stderr)
        raise SystemExit(2)
    return options
