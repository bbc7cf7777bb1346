# A GPU host in a container: docs/how-to/gpu.md. The image brings CUDA 13's headers, g++ and nvcc; the driver is the host's.
#     docker build -t wrn-deploy .
#     docker run --rm --gpus all wrn-deploy doctor
FROM nvcr.io/nvidia/cuda:13.0.2-devel-ubuntu24.04
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ make python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /wrn-deploy
COPY . .
RUN python3 -m wrn_deploy.pipeline.inspection.toolkit \
    && python3 -m venv /venv \
    && /venv/bin/pip install --no-cache-dir -c constraints.txt '.[gpu,demo]'
ENV PATH=/venv/bin:$PATH
WORKDIR /data
ENTRYPOINT ["wrn-deploy"]
