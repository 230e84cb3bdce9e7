# Sourced by the other scripts: activate .venv (made if neither a virtual nor a conda environment is active) and install this
# checkout. pip takes a proxy from https_proxy. On macOS (not tried) python3 and the CPU are used.
PYTHON="${PYTHON:-python3}"
if [ -z "${VIRTUAL_ENV:-}" ] && [ -z "${CONDA_PREFIX:-}" ]; then
    if [ ! -x .venv/bin/python ]; then
        if ! "$PYTHON" -c "import ensurepip, venv" 2> /dev/null; then
            echo "error: $PYTHON has no venv: install python3-venv (apt), or activate a conda environment and run this again" >&2
            exit 2
        fi
        echo "making a virtual environment in .venv"
        "$PYTHON" -m venv .venv
    fi
    source .venv/bin/activate
fi
echo "installing (PyTorch with its CUDA libraries is 6 GB: a few minutes the first time)"
if ! python -m pip install --quiet --disable-pip-version-check --editable ".${SARIGAN_EXTRAS:-}"; then
    echo "error: pip did not install this checkout (above); $(df -Pk . | awk 'NR == 2 {printf "%.1f", $4 / 1048576}') GB are free here" >&2
    exit 2
fi
