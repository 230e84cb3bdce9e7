# Sourced by the other scripts: activate .venv (made if no virtual environment is active) and install this checkout.
PYTHON="${PYTHON:-python3}"
if [ -z "${VIRTUAL_ENV:-}" ] && [ -z "${CONDA_PREFIX:-}" ]; then
    if [ ! -x .venv/bin/python ]; then
        echo "making a virtual environment in .venv"
        "$PYTHON" -m venv .venv
    fi
    source .venv/bin/activate
fi
echo "installing (PyTorch is large: a few minutes the first time)"
python -m pip install --quiet --disable-pip-version-check --editable ".${SARIGAN_EXTRAS:-}"
