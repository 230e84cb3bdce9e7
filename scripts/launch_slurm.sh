#!/usr/bin/env bash
#SBATCH --job-name=sarigan
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
# Train under Slurm; arguments go to scripts/train.py:
#   sbatch scripts/launch_slurm.sh --config configs/lsun_cat_256_sarigan.yaml
#   sbatch --nodes=2 scripts/launch_slurm.sh --config configs/ffhq_1024_sarigan.yaml
# Two minutes before its time is up Slurm sends SIGTERM: every process saves and ends with 0. Requeued, the job goes on.
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-$(dirname "$0")/..}"
export MASTER="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1):$((20000 + SLURM_JOB_ID % 20000))"
export NUM_NODES="$SLURM_JOB_NUM_NODES" NUM_GPUS="${SLURM_GPUS_ON_NODE:-8}" JOB="$SLURM_JOB_ID"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-4}"
srun --kill-on-bad-exit=1 bash scripts/launch_nodes.sh "$@"
