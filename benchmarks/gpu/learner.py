"""One optimizer step of the learner: 32 replies of 768 tokens to a prompt of 512, random weights.

The real `munro.rl.learner.Learner` on a folder, as a climb starts it; beside it the same model as
TRL trains it: padded rows, float32 masters under autocast, its own log-probabilities, no compiler.
MFU counts what must be computed once (the products of unique tokens, attention left out) against
the 989.5 TFLOP/s that vendors state for this chip in bfloat16.
"""

from __future__ import annotations

import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from gpu import peers
from gpu.rows import Rows, device_of
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
)

from munro.envs.types import KeptTokens
from munro.rl.batch import Batch
from munro.rl.clip import Clip
from munro.rl.config import LearnerConfig
from munro.rl.learner import Learner
from munro.rl.policy.sequences import Bundle, TrainingSequence

PEAK = 989.5e12
# vocabulary, width, inner width, layers, heads, heads of keys and values, width of a head
SHAPES: dict[str, tuple[type[PretrainedConfig], tuple[int, ...]]] = {
    "SmolLM2-135M": (LlamaConfig, (49_152, 576, 1536, 30, 9, 3, 64)),
    "Qwen3-0.6B": (Qwen3Config, (151_936, 1024, 3072, 28, 16, 8, 128)),
    "Qwen3-1.7B": (Qwen3Config, (151_936, 2048, 6144, 28, 16, 8, 128)),
}
TOY = (512, 64, 96, 2, 4, 2, 16)

WAYS: dict[str, dict[str, Any]] = {
    "munro": {},
    "munro, not compiled": {"compile": "off"},
    "munro, prompts not shared": {"share_prompts": False},
}


def run(rows: Rows, *, smoke: bool) -> None:
    device = device_of(smoke=smoke)
    for name, (kind, shape) in SHAPES.items():
        with folder_of(config_of(kind, TOY if smoke else shape)) as (folder, body, head):
            prompt, reply, group = (16, 24, 4) if smoke else (512, 768, 32)
            work = _batch(prompt, reply, group, head[0])
            unique, sampled = prompt + reply * group, reply * group
            flops = 6.0 * body * unique + 6.0 * head[0] * head[1] * sampled
            about = {"unique_tokens": unique, "flops": flops}
            for way, settings in WAYS.items():
                if smoke and way != "munro":
                    continue
                budget = 256 if smoke else 16_384
                config = LearnerConfig(token_budget=budget, **settings)
                try:
                    learner = Learner(folder, config, seed=0)
                    step = _step_of(learner, work)
                    _measure(rows, step, device, model=name, subject=way, **about)
                    if way == "munro" and not smoke:
                        rows.note(model=name, waits_for_the_device=_waits(step))
                    del learner, step
                except Exception as error:  # noqa: BLE001 - a way that does not run is a result
                    rows.failed(error, model=name, subject=way)
                empty(device)
            if rows.peers and not smoke:
                _as_trl(rows, folder, work, device, model=name, **about)


def config_of(kind: type[PretrainedConfig], shape: tuple[int, ...]) -> PretrainedConfig:
    """A config of transformers' of that shape; input and output matrix are one."""
    vocabulary, width, inner, layers, heads, kv_heads, head = shape
    return kind(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=head,
        tie_word_embeddings=True,
    )


@contextmanager
def folder_of(config: PretrainedConfig) -> Iterator[tuple[str, int, tuple[int, int]]]:
    """A checkpoint of random weights; how many lie beside the output matrix, and its shape."""
    with tempfile.TemporaryDirectory() as folder:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        with torch.device(device):
            model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        shape = tuple(model.get_output_embeddings().weight.shape)
        whole = sum(parameter.numel() for parameter in model.parameters())
        model.save_pretrained(folder)
        # a checkpoint has a tokenizer, though nothing is read here
        words = Tokenizer(WordLevel({"word": 0}, unk_token="word"))
        PreTrainedTokenizerFast(tokenizer_object=words).save_pretrained(folder)
        del model
        yield folder, whole - shape[0] * shape[1], (shape[0], shape[1])


def _batch(prompt: int, reply: int, group: int, vocabulary: int) -> Batch:
    """One group: what its members have in common, and what each goes on with."""
    draw = np.random.default_rng(0)
    start = draw.integers(vocabulary, size=prompt)
    sequences = []
    for _ in range(group):
        ids = np.concatenate([start, draw.integers(vocabulary, size=reply)]).astype(np.int32)
        sequences.append(
            TrainingSequence(
                token_ids=ids,
                sampled=np.arange(len(ids)) >= prompt,
                behaviour_logp=np.full(len(ids), -np.log(vocabulary), np.float32),
                kept=KeptTokens.nothing(len(ids)),
                advantage=float(draw.normal()),
            )
        )
    return Batch(
        bundles=(Bundle(num_shared=prompt, sequences=tuple(sequences)),),
        num_global_tokens=reply * group,
        num_groups=1,
        num_silent_groups=0,
        num_global_sequences=group,
    )


def _step_of(learner: Learner, work: Batch) -> Callable[[], object]:
    return lambda: learner.step(work, clip=Clip())


def timed(step: Callable[[], object], device: torch.device) -> dict[str, float]:
    """The median of five steps after two that compile, GiB at the peak, and what the first took."""
    on_gpu = device.type == "cuda"
    began = time.perf_counter()
    step()
    first = time.perf_counter() - began
    if on_gpu:
        step()
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    times = []
    for _ in range(5 if on_gpu else 1):
        began = time.perf_counter()
        step()
        if on_gpu:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    peak = torch.cuda.max_memory_allocated() / 2**30 if on_gpu else 0.0
    return {"seconds": statistics.median(times), "peak_gib": peak, "first_s": first}


def _measure(
    rows: Rows, step: Callable[[], object], device: torch.device, *, flops: float, **about: Any
) -> None:
    found = timed(step, device)
    tokens_s = about["unique_tokens"] / found["seconds"]
    rows.note(**about, **found, tokens_s=tokens_s, mfu=flops / found["seconds"] / PEAK)


def _waits(step: Callable[[], object]) -> int:
    """How often a step makes the host wait for the card."""
    torch.cuda.set_sync_debug_mode("warn")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        step()
    torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing" in str(warning.message) for warning in seen)


def _as_trl(rows: Rows, folder: str, work: Batch, device: torch.device, **about: Any) -> None:
    """The same step as TRL makes it, 8 rows at a time."""
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(device)
        model.train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
        bundle = work.bundles[0]
        ids = torch.from_numpy(np.stack([each.token_ids for each in bundle.sequences])).long()
        advantage = torch.tensor([each.advantage for each in bundle.sequences], device=device)
        replies = ids.shape[1] - bundle.num_shared

        def step() -> None:
            for some in torch.arange(len(ids)).split(8):
                row = ids[some].to(device)
                with torch.autocast(device.type, torch.bfloat16):
                    hidden = model.base_model(row, use_cache=False).last_hidden_state
                hidden = hidden[:, -replies - 1 : -1].flatten(0, 1).to(torch.bfloat16)
                weight = model.get_output_embeddings().weight.to(torch.bfloat16)
                share = -advantage[some.to(device)].repeat_interleave(replies) / len(ids) / replies
                peers.trl(hidden, weight, row[:, -replies:].flatten(), share)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        _measure(rows, step, device, subject="as trl: padded, eager", **about)
    except Exception as error:  # noqa: BLE001 - a peer that does not run is a result
        rows.failed(error, subject="as trl: padded, eager", model=about["model"])
    empty(device)


def empty(device: torch.device) -> None:
    """Give what is left back, for what comes next."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
