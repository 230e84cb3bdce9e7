#!/usr/bin/env bash
# Install with the development extras and run every test. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
SARIGAN_EXTRAS="[dev]" source scripts/environment.sh
python -m pytest "$@"
