#!/usr/bin/env bash
# Train SariGAN on the built-in faces on a bare CPU: at most ten minutes of training, no download of data.
# Makes .venv if no virtual environment is active, installs, trains, writes one page that shows the run and prints its
# address. Again: goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh
python scripts/train.py --config configs/quickstart.yaml --run-dir runs/quickstart "$@"
python scripts/report.py runs/quickstart
