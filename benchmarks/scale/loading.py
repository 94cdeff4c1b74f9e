"""How much memory a learner's ranks take to load a model of half a billion parameters.

    python benchmarks/scale/loading.py --ranks 4

Makes the model (random weights, float32, 2 GB on the disk) in a temporary folder, then starts the
ranks as processes that load and shard it as a learner does, and prints each one's peak of memory of
its own above what it had before, looked at a thousand times a second, beside its share. Pages of
the files that it reads are not its own: ranks of a host share them, and the system takes them back
at will. `--whole` loads it as one rank does, and then shards it, to compare with.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

SIZES = {
    "vocab_size": 32_000,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 26,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "tie_word_embeddings": True,
}


def make(folder: Path) -> None:
    """A Llama in several files, as transformers writes it, a layer at a time in memory."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(**SIZES)
    LlamaForCausalLM(config).to(torch.float32).save_pretrained(folder, max_shard_size="500MB")
    (folder / "tokenizer_config.json").write_text("{}")


def load(folder: Path, *, whole: bool) -> dict[str, float]:
    """On one rank: MB of its share of the weights, of the largest weight, and at the peak."""
    import torch

    from munro.base_model.training.sharding import Ranks
    from munro.rl.config import LearnerConfig
    from munro.rl.policy.loading import load_policy, spread_policy

    torch.set_num_threads(1)
    world = Ranks()
    world.total(torch.zeros(1))
    config = LearnerConfig(ranks=world.size, threads=1)
    with Peak() as peak:
        if whole:
            policy = world.shard(load_policy(str(folder), config, device=world.device))
        else:
            policy = spread_policy(str(folder), config, world)
    weights = list(policy.parameters())
    share = sum(weight.to_local().nbytes for weight in weights) / 1e6
    largest = max(weight.nbytes for weight in weights) / 1e6
    bound = share + largest + 200
    return {"share": share, "largest": largest, "peak": peak.above, "bound": bound}


class Peak:
    """The most memory of this process's own, in MB above what it had; a context manager."""

    def __enter__(self) -> Peak:
        self._before = self._most = own()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ends.wait(0.001):
            self._most = max(self._most, own())

    @property
    def above(self) -> float:
        return self._most - self._before


def own() -> float:
    """MB that are neither a file's nor shared with others."""
    told = Path("/proc/self/status").read_text()
    return sum(int(kb) for kb in re.findall(r"Rss(?:Anon|Shmem):\s+(\d+) kB", told)) * 1024 / 1e6


def main() -> int:
    """Non-zero where a rank took more than its share, the largest weight and 200 MB."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--folder", type=Path, help="of the model, which is made where it is not")
    parser.add_argument("--rank", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.rank:
        os.write(1, (json.dumps(load(asked.folder, whole=asked.whole)) + "\n").encode())
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary) / "model"
        if not (folder / "config.json").is_file():
            make(folder)
        own = [__file__, "--rank", "--folder", str(folder), *(["--whole"] * asked.whole)]
        meeting = {"WORLD_SIZE": str(asked.ranks), "MASTER_ADDR": "127.0.0.1"}
        meeting |= {"MASTER_PORT": "29677", "OMP_NUM_THREADS": "1"}
        # what is freed goes back to the system at once, so that it is not counted as held
        meeting |= {"MALLOC_MMAP_THRESHOLD_": "1000000", "MALLOC_TRIM_THRESHOLD_": "1000000"}
        ranks = [
            subprocess.Popen(
                [sys.executable, *own],
                env=os.environ | meeting | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdout=subprocess.PIPE,
            )
            for rank in range(asked.ranks)
        ]
        told = [json.loads(rank.communicate()[0]) for rank in ranks]
    for rank, one in enumerate(told):
        print(f"rank {rank}: " + ", ".join(f"{name} {mb:,.0f} MB" for name, mb in one.items()))
    return int(any(one["peak"] > one["bound"] for one in told))


if __name__ == "__main__":
    sys.exit(main())
