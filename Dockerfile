# sarigan in a container. Written without a container engine at hand: not tried yet.
#   docker build --tag sarigan .                                                    # CPU
#   docker build --tag sarigan --build-arg BASE=nvidia/cuda:12.6.3-devel-ubuntu24.04 \
#       --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu126 .            # CUDA, with nvcc for the native operators
#   docker run --rm --volume "$PWD/runs:/app/runs" sarigan train --config configs/quickstart.yaml --run-dir runs/quickstart
# Several data workers need shared memory: --shm-size=1g. GPUs: --gpus all.
ARG BASE=python:3.12-slim
FROM ${BASE}
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PATH=/opt/sarigan/bin:$PATH
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ git python3 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && if command -v python3.12 > /dev/null; then python3.12 -m venv /opt/sarigan; else python3 -m venv /opt/sarigan; fi
WORKDIR /app
COPY . .
RUN pip install torch torchvision --index-url "${TORCH_INDEX}" && pip install .
ENTRYPOINT ["sarigan"]
CMD ["--help"]
