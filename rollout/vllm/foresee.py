"""What of a checkpoint would have to come whole to vLLM's processes, before any is started.

    a checkpoint's names and shapes ──► vLLM's model without memory, in a child ──► Foreseen

vLLM's loaders are watched as they are when weights are about to come; here under no tensor
parallelism, by which the parts get smaller but what must come whole stays the same.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from munro.rewards.errors import PolicyError
from munro.rollout.vllm.launch import environment

WITHIN_S = 300.0
DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
DTYPES |= {"I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8"}
DTYPES |= {"BOOL": "bool", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreseen:
    """Of one checkpoint."""

    whole: dict[str, int]
    """Bytes of each tensor that must come whole, for vLLM's loader looks at its values."""
    num_bytes: int
    """Of all tensors."""
    untouched: tuple[str, ...]
    """vLLM's parameters and buffers that no update changes."""


def foresee(folder: Path) -> Foreseen:
    """Ask vLLM's own loaders; imports vLLM in a child process, which takes many seconds.

    Raises:
        PolicyError: vLLM cannot build the model, or the checkpoint does not fill it.
    """
    command = [sys.executable, "-m", "munro.rollout.vllm.foresee", str(folder)]
    with environment(on_gpu=False):
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=WITHIN_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise PolicyError(f"vLLM built no model of {folder} in {WITHIN_S:g} s") from error
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        raise PolicyError(f"vLLM cannot take weights for {folder} by plan: {said[-1]}")
    told = json.loads(done.stdout.strip().splitlines()[-1])
    return Foreseen(
        whole=told["whole"], num_bytes=told["num_bytes"], untouched=tuple(told["untouched"])
    )


def catalogue(folder: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of each tensor of a checkpoint, from its files' headers."""
    from safetensors import safe_open

    found: dict[str, tuple[tuple[int, ...], str]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - the handle is not iterable itself
                part = file.get_slice(name)
                found[name] = (tuple(part.get_shape()), DTYPES[part.get_dtype()])
    return found


def _child(folder: Path) -> None:
    import torch
    from vllm.config import set_current_vllm_config
    from vllm.distributed import init_distributed_environment, initialize_model_parallel
    from vllm.engine.arg_utils import EngineArgs
    from vllm.model_executor.model_loader.utils import initialize_model
    from vllm.utils.torch_utils import set_default_torch_dtype

    from munro.rewards.serving.architectures import register_architectures
    from munro.rollout.vllm.layout import record

    register_architectures()
    config = EngineArgs(
        model=str(folder), enforce_eager=True, skip_tokenizer_init=True
    ).create_engine_config()
    with set_current_vllm_config(config), tempfile.TemporaryDirectory() as meeting:
        init_distributed_environment(1, 0, f"file://{meeting}/store", 0, "gloo")
        initialize_model_parallel(1)
        with set_default_torch_dtype(config.model_config.dtype), torch.device("meta"):
            model = initialize_model(vllm_config=config)
        intake = record(model, catalogue(folder))
        intake.require_fit(most_whole=1.0)
    told = {
        "whole": intake.whole,
        "num_bytes": intake.num_bytes,
        "untouched": intake.untouched,
    }
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()
    os._exit(0)  # nothing that vLLM has begun is waited for


if __name__ == "__main__":
    _child(Path(sys.argv[1]))
