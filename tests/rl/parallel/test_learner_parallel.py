"""The learner over more than one dimension of ranks, against one rank: the same weights."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

from munro.rl.batch import build_batch
from munro.rl.clip import Clip
from munro.rl.config import LearnerConfig
from tests.base_model.tiny_munro import tiny_model
from tests.forked import run_ranks
from tests.rl.builders import VOCAB, make_model, random_group, save_model
from tests.rl.parallel.ten_steps import run
from tests.rl.test_routing import with_routes

TEXTS = [[3, 1, 4, 1, 5, 9, 2, 6, 5], [2, 6]]
FOLDED = {"context": 2, "experts": 2}
MESHES: dict[int, list[dict[str, int]]] = {
    2: [{"experts": 2}, {"context": 2}],
    4: [
        {"experts": 4},
        {"experts": 2},  # and FSDP over two
        {"context": 4},  # more than key heads
        {"context": 2, "experts": 4},
        {"replicate": 2, "experts": 2},
    ],
}
slow = [pytest.mark.slow, pytest.mark.timeout(900)]


def mixture() -> Any:
    sizes = {"vocab_size": VOCAB, "num_experts": 8}
    return tiny_model(sizes=sizes, max_position_embeddings=256, moe_round_tokens=16)


def task(folder: Path, model: Any, *, routed: bool, forks: int = 0, **more: Any) -> dict[str, Any]:
    """Ten batches of groups that share their prompts, some of trees."""
    rng = np.random.default_rng(0)
    batches = []
    for step in range(10):
        groups = [
            random_group(rng, index=i, num_attempts=2 + 2 * i, longest=9, forks=forks * (step % 2))
            for i in range(2)
        ]
        batches.append(build_batch([with_routes(g, seed=step) if routed else g for g in groups]))
    # a step that small gradients decide would be one of their last bits
    given = {"learning_rate": 1e-3, "eps": 1e-4, "token_budget": 512, "max_grad_norm": 0.5}
    return {
        "model": save_model(folder / "model", model),
        "config": LearnerConfig(threads=1, **(given | more)),
        "clip": Clip(eps=0.6),
        "batches": batches,
        "texts": TEXTS,
    }


def compare(folder: Path, task: dict[str, Any], ranks: int, meshes: list[dict[str, int]]) -> None:
    (folder / "task.pkl").write_bytes(pickle.dumps(task | {"meshes": meshes}))
    (one,) = run(folder)
    by_rank = run_ranks("tests.rl.parallel.ten_steps", folder, ranks)
    weights = torch.load(folder / "published-1-0.pt")
    for number, mesh in enumerate(meshes):
        ours = [answers[number] for answers in by_rank]
        assert all(other["reports"] == ours[0]["reports"] for other in ours), mesh
        steps = zip(
            [*ours[0]["reports"], ours[0]["again"]], [*one["reports"], one["again"]], strict=True
        )
        for here, there in steps:
            for name in ("learner/loss", "learner/grad_norm", "policy/entropy", "learner/tokens"):
                within = pytest.approx(there.metrics[name], rel=1e-4, abs=1e-6)
                assert here.metrics[name] == within, (mesh, name)
        for rank in ours:
            for score, expected in zip(rank["scores"], one["scores"], strict=True):
                assert score == pytest.approx(expected, abs=1e-4)
        published = torch.load(folder / f"published-{ranks}-{number}.pt")
        assert published.keys() == weights.keys()
        for name, tensor in weights.items():
            torch.testing.assert_close(
                published[name], tensor, rtol=0, atol=1e-5, msg=f"{mesh}: {name}"
            )


def test_folded_meshes_come_to_what_one_rank_does(tmp_path):
    made = task(tmp_path, mixture(), routed=True, forks=3, balance=0.01)
    compare(tmp_path, made, 2, [FOLDED])


@pytest.mark.parametrize("ranks", [pytest.param(ranks, marks=slow) for ranks in MESHES])
def test_every_mesh_comes_to_what_one_rank_does(tmp_path, ranks):
    # ranks that read different rows balance the load of what each computes
    made = task(tmp_path, mixture(), routed=True, forks=3, balance=0.0)
    compare(tmp_path, made, ranks, MESHES[ranks])


@pytest.mark.slow
def test_a_model_of_transformers_lies_in_stretches_too(tmp_path):
    made = task(tmp_path, make_model(tied=False), routed=False, kl_weight=0.1)
    compare(tmp_path, made, 2, [{"context": 2}])


@pytest.mark.slow
def test_experts_that_transformers_makes_of_several_weights_are_read_whole(tmp_path):
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 48, "moe_intermediate_size": 24}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    config = Qwen3MoeConfig(
        **shape, **heads, vocab_size=VOCAB, num_hidden_layers=2, num_experts=4,
        num_experts_per_tok=2, max_position_embeddings=256, initializer_range=0.3,
        tie_word_embeddings=True,
    )  # fmt: skip
    made = task(tmp_path, Qwen3MoeForCausalLM(config), routed=False)
    compare(tmp_path, made, 2, [{}, {"replicate": 2}])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parallel", "said"),
    [
        ({"experts": 2}, "LlamaForCausalLM has no experts of Munro's own"),
        ({"context": 4}, "parallel.context = 4 does not divide the 6 attention heads"),
    ],
)
def test_what_cannot_be_spread_is_refused(tmp_path, parallel, said):
    model = make_model(num_attention_heads=6, hidden_size=48)
    made = task(tmp_path, model, routed=False)
    (tmp_path / "task.pkl").write_bytes(pickle.dumps(made | {"meshes": [parallel]}))
    run(tmp_path)
    with pytest.raises(AssertionError, match=said):
        run_ranks("tests.rl.parallel.ten_steps", tmp_path, max(parallel.values()))
