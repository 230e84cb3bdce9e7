#!/usr/bin/env bash
# Train on all GPUs of one machine; arguments go to scripts/train.py. A lost process restarts the job up to 3 times, from
# the last checkpoint. NUM_GPUS=4 bash scripts/launch_8gpu.sh --config configs/lsun_cat_256_sarigan.yaml
set -euo pipefail
cd "$(dirname "$0")/.."
[ -n "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] || [ ! -e .venv/bin/activate ] || source .venv/bin/activate
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-4}"
exec python scripts/launch.py --standalone --nproc_per_node="${NUM_GPUS:-8}" --max-restarts="${MAX_RESTARTS:-3}" \
    scripts/train.py "$@"
