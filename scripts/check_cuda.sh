#!/usr/bin/env bash
# Everything about the operators that needs a GPU, in one call: build, agreement and derivatives on the whole grid of the
# tests, speed, and memory and race checks if compute-sanitizer is there. Figures go to the folder given (default: runs/cuda).
set -euo pipefail
cd "$(dirname "$0")/.."
results="${1:-runs/cuda}"
mkdir -p "$results"
python -c "import torch; torch.cuda.is_available() or exit('error: torch sees no CUDA device here')"

python -m ops.build
export SARIGAN_OPS=native
python -m pytest tests/ops -k cuda

for setting in "256 16" "256 32" "1024 4"; do
    read -r resolution batch <<< "$setting"
    python scripts/benchmark.py ops --device cuda --dtype float32 float16 bfloat16 \
        --resolution "$resolution" --batch "$batch" --seconds 0.2 --json "$results/ops_${resolution}_${batch}.json"
done

if command -v compute-sanitizer > /dev/null; then
    export PYTORCH_NO_CUDA_MEMORY_CACHING=1 # each tensor its own allocation, so that no overrun stays unseen
    for tool in memcheck racecheck initcheck; do
        echo "compute-sanitizer $tool"
        compute-sanitizer --tool "$tool" --error-exitcode 1 --print-limit 5 \
            python -m pytest tests/ops/test_upfirdn2d.py tests/ops/test_fused_bias_act.py \
            -k "cuda and (definition or strides)"
    done
    unset PYTORCH_NO_CUDA_MEMORY_CACHING
else
    echo "compute-sanitizer is not on the PATH: memory and race checks are left out"
fi
