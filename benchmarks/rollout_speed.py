"""Tokens a second of a rollout server: beside a bare vLLM, and beside what the memory allows.

    python benchmarks/rollout_speed.py --model Qwen/Qwen3-0.6B --batch 256 --tokens 1024
    python benchmarks/rollout_speed.py --model ~/smollm2 --batch 32 --tokens 64      # on a laptop

Both sides sample the same number of tokens at temperature 1 from the same prompts, each in its own
process, which does nothing while the other has its turn; on a GPU each gets `--gpu-memory` of it.
Munro's side returns log-probabilities, and with `--top-p` below 1 the nucleus of every token, which
a bare `LLM.generate` does not.

The decode limit: a step of B sequences must at least read the weights once and the keys and values
of every sequence, so that B / ((weights + B * context * bytes of a token) / bandwidth) tokens a
second is the most that there can be. The bandwidth is that of a copy, measured first.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from sides.turns import Side

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from munro.rollout.openmp import preload

HERE = Path(__file__).parent


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A rollout server's tokens a second.")
    parser.add_argument("--model", required=True, help="folder or hub id of a checkpoint")
    parser.add_argument("--batch", type=int, default=256, help="sequences at once")
    parser.add_argument("--prompt", type=int, default=256, help="tokens of a prompt")
    parser.add_argument("--group", type=int, default=16, help="sequences of one prompt")
    parser.add_argument("--tokens", type=int, default=512, help="sampled of each sequence")
    parser.add_argument("--top-p", type=float, default=1.0, help="Munro's side alone")
    parser.add_argument("--gpu-memory", type=float, default=0.4, help="share of a GPU, each side")
    parser.add_argument("--cpu-kv-cache-gb", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3, help="rounds that count")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    if options.batch % options.group:
        sys.exit(f"--batch {options.batch} is no multiple of --group {options.group}")
    asked = json.dumps(vars(options))
    number = options.batch * options.tokens
    limit = decode_limit(options)
    # both with the OpenMP library that a climb's servers have; a bare engine is started without
    openmp = preload()
    with (
        Side(
            "Munro", [sys.executable, str(HERE / "sides/rollout.py"), "munro", asked], {}
        ) as munro,
        Side(
            "vLLM", [sys.executable, str(HERE / "sides/rollout.py"), "vllm", asked], openmp
        ) as bare,
    ):
        for round_ in range(options.rounds + 1):
            for side in (munro, bare):
                side.step(number, counts=round_ > 0)
        ours, theirs = (number / side.seconds() for side in (munro, bare))
        print(f"Munro {ours:.0f} tokens/s, bare vLLM {theirs:.0f}: {ours / theirs:.3f} of it")
        print(f"decode limit {limit:.0f} tokens/s: Munro reaches {ours / limit:.1%} of it")
        record = {"benchmark": "rollout_speed", "ratio": ours / theirs, "of_limit": ours / limit}
        print(json.dumps({**record, "about": munro.about, **vars(options)}))


def decode_limit(options: argparse.Namespace) -> float:
    """Tokens a second at which reading weights, keys and values fills the memory's bandwidth."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config: Any = AutoConfig.from_pretrained(options.model)
    except (OSError, ValueError) as error:
        sys.exit(f"--model {options.model}: no checkpoint can be read there ({str(error)[:200]})")
    with torch.device("meta"):
        weights = sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())
    bytes_each = 2 if torch.cuda.is_available() else 4
    text = config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    kv_bytes = 2 * text.num_hidden_layers * heads * width * bytes_each
    context = options.prompt + options.tokens / 2
    read = bytes_each * weights + options.batch * context * kv_bytes
    return options.batch / (read / bandwidth())


def bandwidth() -> float:
    """Bytes a second that a copy reads and writes, the median of five."""
    import torch

    on_gpu = torch.cuda.is_available()
    source = torch.ones(1 << (30 if on_gpu else 26), device="cuda" if on_gpu else "cpu")
    twin = torch.empty_like(source)
    times = []
    for _ in range(6):
        began = time.perf_counter()
        twin.copy_(source)
        if on_gpu:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return 2 * source.numel() * source.element_size() / median(times[1:])


if __name__ == "__main__":
    main()
