"""Every element of a vLLM model after an update by boxes, against a fresh load of the same weights.

The models are vLLM's own, built and loaded by vLLM, under tensor parallelism 1 and 2 (two processes
over gloo). What arrives is cut in pieces and shuffled, as from many ranks of a learner.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from munro.rollout.weights import checkpoint_tensors
from tests.base_model.tiny_munro import tiny_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.vllm,
    pytest.mark.timeout(1800),
    pytest.mark.filterwarnings("ignore"),
]

HERE = Path(__file__).parent
SMALL = {
    "vocab_size": 200,  # vLLM pads it to 256
    "hidden_size": 128,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 128,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64}


def models() -> dict[str, Any]:
    """One of each kind, random."""
    return {
        "munro": tiny_model(sizes={"head_dim": 32, "num_shared_experts": 1}, router_bias=True),
        "llama": LlamaForCausalLM(LlamaConfig(**SMALL, tie_word_embeddings=False)),
        "llama, tied": LlamaForCausalLM(LlamaConfig(**SMALL, tie_word_embeddings=True)),
        "llama, biased": LlamaForCausalLM(LlamaConfig(**SMALL, attention_bias=True)),
        "qwen3": Qwen3ForCausalLM(Qwen3Config(**SMALL)),
        "qwen3 moe": Qwen3MoeForCausalLM(Qwen3MoeConfig(**SMALL, **EXPERTS)),
    }


@torch.no_grad()
def make_distinct(model: Any) -> None:
    """No two elements of all parameters and kept buffers are equal."""
    seen: set[int] = set()
    num = 1
    for tensor in model.state_dict().values():
        if tensor.is_floating_point() and tensor.data_ptr() not in seen:
            seen.add(tensor.data_ptr())
            tensor.view(-1).copy_(torch.arange(num, num + tensor.numel()) / 2**24)
            num += tensor.numel()
    assert num < 2**24  # so that float32 tells them apart


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Of each model one with random weights, and beside it one with distinct ones."""
    made: dict[str, Path] = {}
    for name, model in models().items():
        folder = made[name] = tmp_path_factory.mktemp("model")
        model.save_pretrained(folder / "random")
        make_distinct(model)
        model.save_pretrained(folder / "distinct")
        published = checkpoint_tensors(model, model.state_dict())
        if model.config.tie_word_embeddings:
            published.pop("lm_head.weight", None)
        torch.save({k: v.clone() for k, v in published.items()}, folder / "published.pt")
    return made


@pytest.mark.parametrize("ranks", [1, 2])
def test_an_update_by_boxes_equals_a_fresh_load(
    folders: dict[str, Path], ranks: int, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.rollout.vllm.loads", str(rank), str(ranks), str(told)]
            + [str(folder) for folder in folders.values()],
            cwd=HERE.parents[2],
            env=environment,
        )
        for rank in range(ranks)
    ]
    assert [process.wait() for process in processes] == [0] * ranks
    for rank in range(ranks):
        toy, *found = json.loads(Path(f"{told}.{rank}").read_text())
        assert toy["unequal"] == []
        assert toy["whole"] == {"looking.told": 8, "looking.weight": 12}
        assert toy["untouched"] == ["plain.cache", "plain.table"]
        for name, one in zip(folders, found, strict=True):
            assert one["unequal"] == [], (name, rank)
            assert one["equal before"] == [], (name, rank)
            assert one["num_compared"] > 10
            assert one["whole"] == {}
            assert one["unread"] == []
            if ranks > 1:
                assert one["wanted"] < 0.75 * one["published"], name
