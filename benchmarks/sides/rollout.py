"""A side of `rollout_speed.py`: `rollout.py munro|vllm OPTIONS`, sampling when it is asked to."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "src"))

import torch
from step_work import Parent

from munro.rollout.config import RolloutConfig
from munro.rollout.engine import Request
from munro.rollout.vllm.engine import VllmEngine
from munro.rollout.vllm.launch import engine_arguments, environment

Sample = Callable[[int], int]
"""From the number of a step to the tokens that were sampled."""
Close = Callable[[], Coroutine[Any, Any, None]]

OURS = (
    *("worker_cls", "worker_extension_cls", "scheduler_cls", "weight_transfer_config"),
    *("logprobs_mode", "max_logprobs", "enable_log_requests"),
)
"""What a bare engine does without."""


def main() -> None:
    side, options = sys.argv[1], json.loads(sys.argv[2])
    parent = Parent()
    with asyncio.Runner() as runner:
        sample, close = munro(options, runner) if side == "munro" else bare(options)
        card = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
        parent.say({"side": side, "device": card, "torch": torch.__version__})
        try:
            for number in range(sys.maxsize):
                parent.wait()
                began = time.perf_counter()
                tokens = sample(number)
                parent.say({"seconds": time.perf_counter() - began, "tokens": tokens})
        finally:
            runner.run(close())


def munro(options: dict[str, Any], runner: asyncio.Runner) -> tuple[Sample, Close]:
    """As a climb's server samples: log-probabilities, and the nucleus where there is one."""
    config = configured(options)
    context = options["prompt"] + options["tokens"] + 1
    engine = VllmEngine(options["model"], config, seed=0, max_context=context)

    def sample(number: int) -> int:
        requests = [
            Request(
                key=(number, index),
                prompt_ids=ids,
                max_tokens=options["tokens"],
                seed=number * options["batch"] + index,
                top_p=config.top_p,
                top_k=config.nucleus_candidates,
            )
            for index, ids in enumerate(prompts(options, number))
        ]
        return sum(len(done.token_ids) for done in runner.run(engine.generate(requests)))

    return sample, engine.close


def bare(options: dict[str, Any]) -> tuple[Sample, Close]:
    """`LLM.generate` of the same engine settings, without anything of ours."""
    context = options["prompt"] + options["tokens"] + 1
    on_gpu = torch.cuda.is_available()
    with environment(on_gpu=on_gpu):
        from vllm import LLM, SamplingParams

        given = engine_arguments(
            options["model"], configured(options), seed=0, max_context=context, on_gpu=on_gpu
        )
        llm = LLM(**{name: value for name, value in given.items() if name not in OURS})
    params = SamplingParams(
        temperature=1.0, max_tokens=options["tokens"], ignore_eos=True, detokenize=False
    )

    def sample(number: int) -> int:
        given = [{"prompt_token_ids": ids} for ids in prompts(options, number)]
        done = llm.generate(given, params, use_tqdm=False)
        return sum(len(out.outputs[0].token_ids) for out in done)

    async def close() -> None:
        """It ends with this process."""

    return sample, close


def configured(options: dict[str, Any]) -> RolloutConfig:
    """One server's part of a recipe."""
    return RolloutConfig(
        group_size=options["group"],
        num_early=options["group"],
        max_batch=options["batch"],
        top_p=options["top_p"],
        gpu_memory=options["gpu_memory"],
        cpu_kv_cache_gb=options["cpu_kv_cache_gb"],
    )


def prompts(options: dict[str, Any], number: int) -> list[list[int]]:
    """The token ids of a step's prompts, a group's the same; new ones every step."""
    draw = random.Random(f"step {number}")
    groups = options["batch"] // options["group"]
    each = [[draw.randrange(100, 1000) for _ in range(options["prompt"])] for _ in range(groups)]
    return [ids for ids in each for _ in range(options["group"])]


if __name__ == "__main__":
    main()
