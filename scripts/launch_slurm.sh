#!/usr/bin/env bash
#SBATCH --job-name=sarigan
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@180
#SBATCH --requeue
#SBATCH --open-mode=append
# Train under Slurm; arguments go to scripts/train.py:
#   sbatch scripts/launch_slurm.sh --config configs/lsun_cat_256_sarigan.yaml
#   sbatch --nodes=2 scripts/launch_slurm.sh --config configs/ffhq_1024_sarigan.yaml
# Three minutes before its time is up Slurm sends USR1 to this script: every process saves and ends, and the job is queued
# again, where it goes on. A preempted job gets TERM: it saves too, and Slurm itself queues it again.
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-$(dirname "$0")/..}"
export MASTER="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1):$((20000 + SLURM_JOB_ID % 20000))"
export NUM_NODES="$SLURM_JOB_NUM_NODES" NUM_GPUS="${SLURM_GPUS_ON_NODE:-8}" JOB="$SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0}"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-4}" SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-32}"

srun --kill-on-bad-exit=1 bash scripts/launch_nodes.sh "$@" &
step=$!
again=
trap 'again=yes; scancel --signal=TERM "$SLURM_JOB_ID"' USR1 # to the processes, not to this script
trap : TERM                                                 # Slurm sends it to the processes itself
while kill -0 $step 2>/dev/null; do wait $step || :; done # a trap ends `wait` before the step has ended
code=0
wait $step || code=$?
[ -z "$again" ] || [ $code -ne 0 ] || scontrol requeue "$SLURM_JOB_ID"
exit $code
