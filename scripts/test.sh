#!/usr/bin/env bash
# Install with the development extras and run every test, in two processes (TEST_WORKERS). Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
SARIGAN_EXTRAS="[dev]" source scripts/environment.sh
# A core has one thread of one test: two would wait for each other at every operator, and spin meanwhile.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
python -m pytest --numprocesses "${TEST_WORKERS:-2}" --dist loadfile "$@"
