#!/usr/bin/env bash
# Compile and link the CUDA operators for the usual architectures, or those given (7.5,8.0). Needs nvcc, but no GPU.
# V100 (7.0) takes a CUDA 12 build of torch and its nvcc: bash scripts/compile_cuda.sh 7.0
set -euo pipefail
cd "$(dirname "$0")/.."
python -m ops.build --force --arch "${1:-7.5,8.0,9.0}"
