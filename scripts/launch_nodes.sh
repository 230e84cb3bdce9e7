#!/usr/bin/env bash
# Train on several machines: run the same line on each, within a minute; arguments go to scripts/train.py.
#   NUM_NODES=2 MASTER=first-machine:29400 JOB=cats bash scripts/launch_nodes.sh --config configs/lsun_cat_256_sarigan.yaml
# All machines need the data. Put the run directory where all see it too: rank 0 keeps it, and torchrun gives rank 0 to the
# machine whose name sorts first, which need not be MASTER.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -n "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] || [ ! -e .venv/bin/activate ] || source .venv/bin/activate
: "${NUM_NODES:?how many machines}" "${MASTER:?host:port of the first machine}"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-4}"
exec python scripts/launch.py --nnodes="$NUM_NODES" --nproc_per_node="${NUM_GPUS:-8}" \
    --max-restarts="${MAX_RESTARTS:-3}" --rdzv-backend=c10d --rdzv-endpoint="$MASTER" --rdzv-id="${JOB:-sarigan}" \
    scripts/train.py "$@"
