#!/usr/bin/env bash
# Train on several machines; run the same line on each, within the launcher's 15 minutes; arguments go to scripts/train.py.
# All need the data. The run directory is used by rank 0 alone, which torchrun gives to the machine whose name sorts first.
#   NUM_NODES=2 MASTER=first-machine:29400 JOB=cats bash scripts/launch_nodes.sh --config configs/lsun_cat_256_sarigan.yaml
set -euo pipefail
cd "$(dirname "$0")/.."
: "${NUM_NODES:?how many machines}" "${MASTER:?host:port of the first machine}"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-4}"
exec torchrun --nnodes="$NUM_NODES" --nproc_per_node="${NUM_GPUS:-8}" --max-restarts="${MAX_RESTARTS:-3}" \
    --rdzv-backend=c10d --rdzv-endpoint="$MASTER" --rdzv-id="${JOB:-sarigan}" scripts/train.py "$@"
