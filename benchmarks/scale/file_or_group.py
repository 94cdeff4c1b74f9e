"""A weight update of one server on this node: by a file in shared memory, or from rank to server.

    python benchmarks/scale/file_or_group.py [--layers 24] [--width 896] [--times 3]

By default the shape of a model of half a billion parameters, in float32 (2 GB; the whole takes
about 10 GB). Prints a line of JSON: for each way the median seconds that the learner stands still
(`publish`), those until the server has the weights, and the CPU seconds of both processes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from munro.base_model.training.sharding import Alone
from munro.rl.saving import published
from munro.rl.shards import HeldWeights
from munro.rollout.config import RolloutConfig
from munro.rollout.transfer.sending import GroupWeights
from munro.rollout.transformers_engine import TransformersEngine
from munro.rollout.weights import SharedMemoryWeights, place

sys.path.insert(0, str(Path(__file__).parent))
from nodes import Peer


def server(folder: Path) -> Callable[..., Any]:
    """A transformers engine; answers with the CPU seconds that an update took it."""
    torch.set_num_threads(1)
    loop = asyncio.new_event_loop()
    engine = TransformersEngine(str(folder), RolloutConfig(), seed=0, max_context=64)

    def work(source: Any) -> float:
        began = time.process_time()
        loop.run_until_complete(engine.update_weights(source, drain=True))
        return time.process_time() - began

    return work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--width", type=int, default=896)
    parser.add_argument("--times", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    config = LlamaConfig(
        vocab_size=151_936,
        hidden_size=given.width,
        intermediate_size=4864,
        num_hidden_layers=given.layers,
        num_attention_heads=14,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=True,
    )
    rows: dict[str, list[tuple[float, float, float]]] = {"file": [], "group": []}
    with tempfile.TemporaryDirectory() as folder:
        LlamaForCausalLM(config).save_pretrained(folder)
        peer = Peer.start("", lambda: server(Path(folder)))
        model = LlamaForCausalLM.from_pretrained(folder)
        file = SharedMemoryWeights(place("file-or-group"), keep=1)
        group = GroupWeights(within_s=600.0, bucket_bytes=64 << 20)
        held = HeldWeights(model, Alone())
        try:
            for version in range(1, 2 * given.times + 3):
                way = "file" if version % 2 else "group"
                began, cpu = time.monotonic(), time.process_time()
                if way == "file":
                    source = file.publish(published(model, Alone()), version)
                else:
                    shards = held.now(again=group.withdraw())
                    source = group.publish_shards(
                        shards, version, rank=0, device=torch.device("cpu")
                    )
                stall = time.monotonic() - began
                peer.tell(source)
                theirs = peer.hear(600)
                row = (stall, time.monotonic() - began, time.process_time() - cpu + theirs)
                if version > 2:  # the first of each finds cold caches, and compiles the plan
                    rows[way].append(row)
        finally:
            file.close()
            peer.kill()
    size = 4 * sum(weight.numel() for weight in model.parameters())
    told: dict[str, Any] = {"gb": size / 1e9}
    for way, found in rows.items():
        stalls, totals, cpus = zip(*found, strict=True)
        told[way] = {
            "learner_stall_s": median(stalls),
            "until_loaded_s": median(totals),
            "cpu_s": median(cpus),
        }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
