"""How a vLLM engine process is started: its arguments, its environment, its share of the cores."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from munro.base_model.weights import BadWeights, prove
from munro.rewards.errors import PolicyError
from munro.rewards.serving.architectures import register_architectures
from munro.rollout.adapters import Adapters
from munro.rollout.config import RolloutConfig
from munro.rollout.engine import ALONE, Sharing
from munro.rollout.openmp import preload
from munro.rollout.vllm.last_words import VARIABLE, LastWords
from munro.rollout.vllm.load import Meter

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM

PREFILL_TOKENS = 2048
"""Prompt tokens that one engine step takes in; bounds the logits of a scored sequence."""

GIB = 1 << 30

BACKENDS = {"file": "munro_file", "group": "munro_plan", "ipc": "ipc", "nccl": "nccl"}
"""vLLM's name of the engine that takes new weights in, by ours of the way they come."""


def start(
    model: str,
    config: RolloutConfig,
    *,
    seed: int,
    max_context: int,
    sharing: Sharing = ALONE,
    words: LastWords,
    adapters: Adapters | None = None,
    meter: Meter | None = None,
) -> AsyncLLM:
    """Start the engine process and wait until it serves.

    Args:
        model: folder or name of a checkpoint.
        config: sampling and machine.
        seed: of anything not seeded by a request.
        max_context: longest token stream; 0 takes the model's own limit.
        sharing: how it stands to the learner.
        words: where its processes write why they failed.
        adapters: to be ready for; None where whole weights are updated.
        meter: told how much the engine has to do.

    Raises:
        PolicyError: vLLM is not installed, or the model does not come up; says what to do.
    """
    on_gpu = torch.cuda.is_available()
    register_architectures()
    try:
        # vLLM serves what a file lacks as it finds it in memory, and says nothing
        if Path(model).is_dir():
            prove(Path(model))
    except BadWeights as error:
        raise PolicyError(f"model {model}: {error}") from error
    with environment(on_gpu=on_gpu, transfer=sharing.transfer):
        os.environ[VARIABLE] = str(words.path)
        try:
            arguments = engine_arguments(
                model,
                config,
                seed=seed,
                max_context=max_context,
                on_gpu=on_gpu,
                sharing=sharing,
            ) | adapter_arguments(adapters)
            # what its modules log while they are imported, before vLLM sets its own level
            logging.getLogger("vllm").setLevel(os.environ["VLLM_LOGGING_LEVEL"])
            from vllm.engine.arg_utils import AsyncEngineArgs
            from vllm.v1.engine.async_llm import AsyncLLM

            loggers = [meter.reporter()] if meter is not None else None
            return AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments), stat_loggers=loggers)
        except ModuleNotFoundError as error:
            raise PolicyError(
                f"rollout.engine = 'vllm', but vLLM cannot be imported ({error}). Install it with "
                f"pip install 'munro[{'gpu' if on_gpu else 'cpu'}]', or set rollout.engine = "
                "'transformers'."
            ) from error
        except (RuntimeError, ValueError, OSError) as error:
            raise PolicyError(
                f"vLLM could not start on {model!r}: {words.after(str(error))} "
                "(VLLM_LOGGING_LEVEL=INFO shows the engine's own log; on the CPU "
                "rollout.cpu_kv_cache_gb must hold one sequence of rollout.max_context tokens)"
            ) from error


def engine_arguments(
    model: str,
    config: RolloutConfig,
    *,
    seed: int,
    max_context: int,
    on_gpu: bool,
    sharing: Sharing = ALONE,
) -> dict[str, Any]:
    """Keyword arguments of vLLM's `AsyncEngineArgs`."""
    arguments: dict[str, Any] = {
        "model": model,
        "seed": seed,
        "max_model_len": max_context or None,
        "dtype": precision(config, on_gpu=on_gpu),
        "max_num_seqs": config.max_batch,
        "max_num_batched_tokens": max(PREFILL_TOKENS, config.max_batch),
        "skip_tokenizer_init": True,
        "generation_config": "vllm",
        "logprobs_mode": "processed_logprobs",
        "max_logprobs": max(config.nucleus_candidates, 1),
        "enable_prefix_caching": True,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        "enable_log_requests": False,
        "weight_transfer_config": {"backend": BACKENDS[sharing.transfer]},
        "worker_extension_cls": "munro.rollout.vllm.extension.Extension",
    }
    if on_gpu:
        return arguments | {
            "gpu_memory_utilization": memory_share(config, sharing.learner_bytes),
            "enable_sleep_mode": sharing.sleeps,
            "tensor_parallel_size": config.tensor_parallel,
            "enable_return_routed_experts": is_mixture_of_experts(model),
        }
    if is_mixture_of_experts(model):
        # vLLM itself returns them by its newer model runner only, which the CPU has not; of models
        # that do not tell them to ours nothing is returned
        arguments["scheduler_cls"] = "munro.rollout.vllm.routing.RoutingScheduler"
    return arguments | {
        # a prompt prefilled in parts makes vLLM wind a seeded generator back, which on the CPU
        # cannot be done: it would end the engine
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(PREFILL_TOKENS, config.max_batch, max_context),
        # prompts are shared in whole blocks, and by default a block is 128 tokens here
        "block_size": 32,
        "enforce_eager": True,
        "kv_cache_memory_bytes": int(config.cpu_kv_cache_gb * GIB),
        "worker_cls": "munro.rollout.vllm.worker.Worker",
        "distributed_executor_backend": "uni",
    }


def memory_share(config: RolloutConfig, learner_bytes: int) -> float:
    """Of the GPU that this process sees first, what vLLM may take beside the learner.

    Raises:
        ValueError: the learner leaves nothing.
    """
    if not learner_bytes:
        return config.gpu_memory
    total = torch.cuda.get_device_properties(0).total_memory
    share = min(config.gpu_memory, 1 - learner_bytes / total)
    if share <= 0:
        raise ValueError(
            f"the learner needs {learner_bytes / GIB:.1f} of its GPU's {total / GIB:.1f} GiB also "
            "while vLLM is awake: set learner.offload = true, or unset ray.colocate"
        )
    return share


RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Widths that vLLM has room for; an adapter takes the next one up."""


def adapter_arguments(adapters: Adapters | None) -> dict[str, Any]:
    """What vLLM must know to serve adapters, each under a name of its own.

    Raises:
        PolicyError: they are too wide for it.
    """
    if adapters is None:
        return {}
    room = next((width for width in RANKS if width >= adapters.rank), None)
    if room is None:
        raise PolicyError(
            f"learner.lora.rank = {adapters.rank} is more than the {RANKS[-1]} that vLLM serves."
        )
    arguments: dict[str, Any] = {
        "enable_lora": True,
        "max_lora_rank": room,
        "max_loras": adapters.versions,
        "max_cpu_loras": adapters.versions,
        # without it vLLM adapts the output matrix too, for every logit of every prompt
        "lora_target_modules": list(adapters.modules),
    }
    if adapters.base_bits == 4:
        arguments["quantization"] = "bitsandbytes"
    return arguments


def precision(config: RolloutConfig, *, on_gpu: bool) -> str:
    """vLLM's name for the precision to serve in."""
    if config.dtype != "auto":
        return config.dtype
    return "bfloat16" if on_gpu else "float32"


def is_mixture_of_experts(model: str) -> bool:
    """Whether the model's config names experts."""
    from transformers import PretrainedConfig

    config, _ = PretrainedConfig.get_config_dict(model)
    text = config.get("text_config", config)
    names = ("num_experts", "num_local_experts", "n_routed_experts")
    if "sparse" not in (text.get("mlp_layer_types") or ["sparse"]):
        return False
    return any((text.get(name) or 0) > 1 for name in names)


@contextmanager
def environment(*, on_gpu: bool, transfer: str = "file") -> Iterator[None]:
    """The variables that vLLM and its engine process read while they start.

    vLLM sets some of its own as well (a preloaded OpenMP library among them); all are put back, so
    that a sandbox or a learner started later from this process does not inherit them.
    """
    before = dict(os.environ)
    # variables that a person may set to something else, which then holds
    for name, value in {
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "GLOO_LOG_LEVEL": "ERROR",
        "TORCH_CPP_LOG_LEVEL": "ERROR",
        "TRANSFORMERS_VERBOSITY": "error",
        "PYTHONWARNINGS": "ignore",
    }.items():
        os.environ.setdefault(name, value)
    if transfer == "ipc":
        # handles of the learner's memory reach the engine's process pickled, from this one alone
        os.environ["VLLM_ALLOW_INSECURE_SERIALIZATION"] = "1"
    if not on_gpu:
        os.environ.update(cpu_variables())
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def cpu_variables() -> dict[str, str]:
    """The engine process's share of the cores, and how its threads wait.

    It takes every core this process may run on, whatever OMP_NUM_THREADS says (Ray sets that to 1
    for its actors); VLLM_CPU_OMP_THREADS_BIND, as in "0-1" or "0,2", narrows and pins it. Learner
    and engine take turns on the same cores, so idle threads give theirs up after about 0.1 ms.
    """
    bound = os.environ.get("VLLM_CPU_OMP_THREADS_BIND", "")
    pinned = bool(bound) and bound not in ("auto", "nobind")
    cores = parse_cores(bound) if pinned else sorted(os.sched_getaffinity(0))
    variables = {
        "OMP_NUM_THREADS": str(len(cores)),
        "GOMP_SPINCOUNT": "2000",
        **preload(),
        # the worker runs in the engine process itself: one import of vLLM less at start-up
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        # nothing to compile in eager mode, and no C++ compiler to ask for
        "TORCHDYNAMO_DISABLE": "1",
    }
    if pinned:
        variables["GOMP_CPU_AFFINITY"] = " ".join(map(str, cores))
    return variables


def parse_cores(text: str) -> list[int]:
    """Core numbers from a list such as "0-3,6".

    Raises:
        ValueError: not such a list.
    """
    cores: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if not first.isdigit() or (last and not last.isdigit()):
            raise ValueError(
                f"VLLM_CPU_OMP_THREADS_BIND = {text!r}: give core numbers such as '0-1' or '0,2'."
            )
        cores += range(int(first), int(last or first) + 1)
    return cores
