#!/usr/bin/env bash
# Install with the development extras and run every test, in two processes (TEST_WORKERS). Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
SARIGAN_EXTRAS="[dev]" source scripts/environment.sh
python -m pytest --numprocesses "${TEST_WORKERS:-2}" --dist loadfile "$@"
