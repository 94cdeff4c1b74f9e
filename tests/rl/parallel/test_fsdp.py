"""Two real ranks, FSDP2 over gloo, against one: the same figures and the same weights."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from munro.base_model.adapters.config import LoraConfig
from munro.base_model.checkpoint import Checkpoint
from munro.base_model.sharded import state as pieces
from munro.rl.batch import build_batch
from munro.rl.clip import Clip
from munro.rl.config import LearnerConfig
from tests.base_model.tiny_munro import tiny_model
from tests.rl.builders import VOCAB, make_model, random_group, save_model
from tests.rl.rank import run
from tests.rounding import assert_near, bound, depth, largest

ROOT = Path(__file__).parents[3]
TEXTS = [[3, 1, 4, 1, 5, 9], [2, 6]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(folder: Path, num_ranks: int) -> list[dict[str, Any]]:
    """What each rank found out."""
    return [
        pickle.loads((folder / f"answer-{rank}-of-{num_ranks}.pkl").read_bytes())
        for rank in range(num_ranks)
    ]


def run_ranks(folder: Path, num_ranks: int) -> list[dict[str, Any]]:
    """Run `tests/rl/rank.py` in processes of their own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.rl.rank", str(folder), str(num_ranks), str(free_port())],
        env=os.environ | {"PYTHONPATH": f"{ROOT}/src:{ROOT}", "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return answers(folder, num_ranks)


MODELS = {
    "tied": lambda: make_model(tied=True),
    "untied": lambda: make_model(tied=False),
    "mixture": lambda: tiny_model(sizes={"vocab_size": VOCAB}, max_position_embeddings=256),
    "adapter": lambda: make_model(tied=True),
}
BESIDES = {"untied": {"kl_weight": 0.1}}
"""Keys that a model's runs have besides: a reference is sharded as the policy is."""
FORKS = {"untied": 3}
TERMS = depth(MODELS["mixture"](), 200, backward=True)
ROUNDING = bound(TERMS)
"""Of figures about as large as 1, whichever of the models they come from."""
OF_THE_CUT = {"learner/computed_tokens", "learner/balance_loss", "learner/expert_violation/max"}
"""Figures that depend on how a batch is cut: each part reads what it shares with others again."""


@pytest.fixture(
    scope="module",
    params=["tied", "untied", "adapter", pytest.param("mixture", marks=pytest.mark.slow)],
)
def runs(request, tmp_path_factory):
    """The same three batches on one rank and on two, with shares of unequal size."""
    folder = tmp_path_factory.mktemp("fsdp")
    rng = np.random.default_rng(0)
    forks = FORKS.get(request.param, 0)
    batches = [
        build_batch(
            [random_group(rng, index=i, num_attempts=2 + 3 * i, forks=forks) for i in range(3)]
        )
        for _ in range(3)
    ]
    # rank 1 gets nothing of this one, and must still take part in every collective
    batches[1] = build_batch([random_group(rng, num_attempts=2, longest=2, num_prompt=30)])
    task = {
        "model": save_model(folder / "model", MODELS[request.param]()),
        "config": LearnerConfig(
            learning_rate=1e-3,
            eps=1e-6,
            token_budget=64,
            max_grad_norm=0.5,
            **BESIDES.get(request.param, {}),
            lora=LoraConfig(rank=5) if request.param == "adapter" else None,
        ),
        "clip": Clip(eps=0.6),
        "batches": batches,
        "texts": TEXTS,
    }
    (folder / "task.pkl").write_bytes(pickle.dumps(task))
    run(folder)
    (one,) = answers(folder, 1)
    # two ranks go on from what one rank saved: a checkpoint is of no particular number of them
    (folder / "task.pkl").write_bytes(pickle.dumps(task | {"load": folder / "saved-1"}))
    return folder, one, run_ranks(folder, 2)


def test_two_ranks_report_what_one_does(runs):
    _, one, two = runs
    assert two[0]["reports"] == two[1]["reports"]
    for ours, theirs in zip(two[0]["reports"], one["reports"], strict=True):
        assert ours.entropy == pytest.approx(theirs.entropy, rel=1e-4)
        for name in theirs.metrics.keys() - OF_THE_CUT:
            figure = pytest.approx(theirs.metrics[name], rel=2e-3, abs=ROUNDING)
            assert ours.metrics[name] == figure, name


def test_two_ranks_score_and_publish_what_one_does(runs):
    folder, one, two = runs
    for ours, theirs in zip(two[0]["scores"], one["scores"], strict=True):
        assert ours == pytest.approx(theirs, abs=2e-3)
    assert (two[0]["source"].version, two[1]["source"]) == (3, None)
    ours, theirs = (torch.load(folder / f"published-{ranks}.pt") for ranks in (2, 1))
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=1e-3, atol=1e-3)


def test_a_checkpoint_of_one_rank_goes_on_with_two_as_if_nothing_had_been(runs):
    _, one, two = runs
    assert one["again"] == one["reports"][2]
    again, before = two[0]["again"].metrics, one["reports"][2].metrics
    for name in ("learner/loss", "learner/grad_norm", "policy/entropy"):
        assert again[name] == pytest.approx(before[name], rel=1e-3, abs=ROUNDING)


def moments(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    """What a checkpoint keeps of the optimizer, of whichever kind it is."""
    if not Checkpoint(folder).is_sharded:
        return torch.load(folder / "trainer_state.pt", weights_only=True)["optimizer"]
    held = pieces.pieces_in(folder)
    names = [name for name in held if name.startswith(pieces.MOMENTS)]
    full = {name: torch.empty(held[name].size) for name in names}
    pieces.read(folder, full)
    return {
        name: {key: full[f"{pieces.MOMENTS}{name}/{key}"] for key in keys}
        for name, keys in pieces.moments_in(held).items()
    }


def test_two_ranks_save_what_one_does(runs):
    folder, _, _ = runs
    one, two = (moments(folder / f"saved-{ranks}") for ranks in (1, 2))
    assert one.keys() == two.keys()
    for name in one:
        for key in ("exp_avg", "exp_avg_sq", "step"):
            scale = max(1.0, largest(one[name][key]))
            assert_near(two[name][key], one[name][key], TERMS, scale=scale)


def test_only_the_first_rank_ever_holds_a_whole_weight_or_moment(runs):
    folder, _, two = runs
    weights = torch.load(folder / "published-1.pt").values()
    largest = max(tensor.numel() for tensor in weights)
    # of whole rows
    shard = max(-(-len(tensor) // 2) * tensor[0].numel() for tensor in weights)
    for doing in ("save", "publish"):
        first, other = (answer["widest"][doing] for answer in two)
        assert other <= shard < largest, doing
        # of a checkpoint that is sharded the first holds no more than the others
        gathers = doing == "publish" or not Checkpoint(folder / "saved-2").is_sharded
        assert (first >= largest) == gathers, doing


def test_moments_that_are_put_away_change_no_bit_on_two_ranks(runs, tmp_path):
    folder, _, here = runs
    task = pickle.loads((folder / "task.pkl").read_bytes())
    config = task["config"].model_copy(update={"offload": True})
    (tmp_path / "task.pkl").write_bytes(pickle.dumps(task | {"config": config}))
    away = run_ranks(tmp_path, 2)
    for ours, theirs in zip(away, here, strict=True):
        assert ours["reports"] == theirs["reports"]
        assert ours["again"] == theirs["again"]
    one, other = (torch.load(place / "published-2.pt") for place in (tmp_path, folder))
    assert all(torch.equal(one[name], other[name]) for name in other)
    saved = [moments(place / "saved-2") for place in (tmp_path, folder)]
    for name, kept in saved[1].items():
        assert all(torch.equal(saved[0][name][key], kept[key]) for key in kept)


def test_two_ranks_go_on_from_what_they_saved_bit_for_bit(runs):
    _, _, two = runs
    for answer in two:
        assert answer["resumed"] == answer["reports"][2]


def test_one_rank_goes_on_from_what_two_saved(runs, tmp_path):
    folder, _, two = runs
    task = pickle.loads((folder / "task.pkl").read_bytes())
    (tmp_path / "task.pkl").write_bytes(pickle.dumps(task | {"load": folder / "saved-2"}))
    run(tmp_path)
    again = answers(tmp_path, 1)[0]["again"].metrics
    for name in ("learner/loss", "learner/grad_norm", "policy/entropy"):
        before = two[0]["reports"][2].metrics[name]
        assert again[name] == pytest.approx(before, rel=1e-3, abs=ROUNDING)


@pytest.mark.slow
def test_in_bfloat16_two_ranks_learn_what_one_does_to_its_rounding(tmp_path):
    rng = np.random.default_rng(0)
    batches = [build_batch([random_group(rng, index=i) for i in range(3)]) for _ in range(3)]
    told = {}
    for precision in ("float32", "bfloat16"):
        folder = tmp_path / precision
        folder.mkdir()
        config = LearnerConfig(learning_rate=1e-3, token_budget=64, precision=precision)
        task = {
            "model": save_model(folder / "model", make_model(tied=True)),
            "config": config,
            "clip": Clip(eps=0.6),
            "batches": batches,
            "texts": TEXTS,
        }
        (folder / "task.pkl").write_bytes(pickle.dumps(task))
        run(folder)
        told[precision] = answers(folder, 1)[0]["reports"][0], run_ranks(folder, 2)[0]["reports"][0]
    for one, two in told.values():
        # bfloat16 has eight bits
        assert two.entropy == pytest.approx(one.entropy, rel=2**-7)
        norms = (report.metrics["learner/grad_norm"] for report in (two, one))
        assert next(norms) == pytest.approx(next(norms), rel=0.05)
    (_, wide), (_, halved) = told.values()
    assert halved.entropy == pytest.approx(wide.entropy, rel=2**-7)
    assert halved.entropy != wide.entropy
