# Munro on CPUs. Build: docker build -t munro .
# Run:   docker run --rm -it --shm-size=2g -v "$PWD/runs:/work/runs" munro climb quickstart
FROM python:3.11-slim-bookworm

# PyTorch's own index of CPU builds; pip's holds CUDA builds of several gigabytes
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

# a compiler, for what vLLM and torch make at the first run
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ libnuma1 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/munro
COPY . .
# torch first and what breaks it last, as install.sh does
RUN pip install --no-cache-dir "torch==2.13.0+cpu" --extra-index-url "$TORCH_INDEX" \
    && pip install --no-cache-dir ".[cpu,tensorboard]" --extra-index-url "$TORCH_INDEX" \
    && pip uninstall -y torchvision torchaudio torchcodec

# nobody's rights inside; runs and caches go to folders that it owns
RUN useradd --create-home climber && mkdir /work && chown climber /work
USER climber
WORKDIR /work
ENV HF_HOME=/work/.hub VLLM_NO_USAGE_STATS=1

ENTRYPOINT ["munro"]
CMD ["--help"]
