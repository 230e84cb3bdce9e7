"""A Slurm array of a study: one task a run. Tasks may be cancelled, preempted and queued again at any time."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from sarigan.studies.plan import Run

TEMPLATE = """#!/usr/bin/env bash
#SBATCH --job-name={job}
#SBATCH --array=0-{last}
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node={gpus}
#SBATCH --cpus-per-task={cpus}
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@180
#SBATCH --requeue
#SBATCH --open-mode=append
# {study}: one task a run. Three minutes before its time is up Slurm sends USR1: the run saves, and the task is queued again,
# where it goes on. What is finished is not done again, so the whole array may be submitted anew.
set -euo pipefail
cd {here}
RUNS=({names})
{command} --only "${{RUNS[$SLURM_ARRAY_TASK_ID]}}" &
runner=$!
again=
trap 'again=yes; kill -TERM $runner' USR1
trap 'kill -TERM $runner' TERM # a preempted task: Slurm itself queues it again
while kill -0 $runner 2>/dev/null; do wait $runner || :; done # a trap ends `wait` before the runner has ended
code=0
wait $runner || code=$?
[ -z "$again" ] || [ $code -ne 0 ] || scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID"
exit $code
"""


def slurm_array(runs: Sequence[Run], here: Path) -> str:
    """The text of the batch script, which is submitted with sbatch. here: where relative paths of the study begin."""
    study, root = runs[0].study, runs[0].root
    command = [sys.executable, "-m", "sarigan", "study", "run", str(study.path), "--folder", str(root), "--jobs", "1"]
    return TEMPLATE.format(
        job=study.path.stem, last=len(runs) - 1, gpus=study.processes, cpus=4 * study.processes, study=study.path,
        here=shlex.quote(str(here)), names=" ".join(shlex.quote(run.name) for run in runs), command=shlex.join(command),
    )  # fmt: skip
