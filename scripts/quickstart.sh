#!/usr/bin/env bash
# Train SariGAN on the built-in faces on a bare CPU: at most ten minutes of training, no download of data.
# Makes .venv if no virtual environment is active, installs, trains, writes one page that shows the run and prints its
# address. Again: goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh
# Compiled operators make a step one and a half times as fast. Without a compiler it runs on PyTorch's own.
if command -v "${CXX:-c++}" > /dev/null; then
    echo "compiling the operators (less than a minute, once)"
    python -m ops.build > /dev/null || true
fi
python scripts/train.py --config configs/quickstart.yaml --run-dir runs/quickstart "$@"
python scripts/report.py runs/quickstart
