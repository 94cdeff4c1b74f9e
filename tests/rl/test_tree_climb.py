"""An environment of several turns, and a model whose template strips thoughts: engine to learner.

The model is random over a dozen tokens, so that it opens and closes thoughts and ends turns by
chance; everything between its engine and its optimizer is the real thing.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from munro.envs.base import Environment, Episode
from munro.envs.types import Message, Task, Trajectory
from munro.rewards.config import RewardsConfig
from munro.rewards.types import Grade
from munro.rl.batch import build_batch
from munro.rl.clip import Clip
from munro.rl.config import LearnerConfig
from munro.rl.learner import Learner
from munro.rl.policy.packing import Layout
from munro.rollout.branches import way
from munro.rollout.config import RolloutConfig
from munro.rollout.problem import ProblemWorker
from munro.rollout.store.store import RolloutStore
from munro.rollout.transformers_engine import TransformersEngine
from munro.rollout.types import Group
from tests.rl.builders import make_model
from tests.rounding import depth, near

SPECIAL = ("<|u|>", "<|a|>", "<|e|>")
TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'user' %}<|u|>{{ m.content }}{% else %}<|a|>"
    "{{ m.content.split('</think>')[-1] }}{% endif %}<|e|>{% endfor %}"
    "{% if add_generation_prompt %}<|a|>{% endif %}"
)
CONTEXT = 160


class Doubt(Environment):
    """Doubts every turn; content with an even number of letters in the end."""

    def tasks(self, split: str) -> list[Task]:
        return [Task(id="abc", prompt="abc")]

    def start(self, task: Task) -> Episode:
        return _Doubting()


class _Doubting(Episode):
    def reply(self, message: Message) -> list[Message]:
        return [Message(role="user", content="fgh")]

    def grade(self, trajectory: Trajectory) -> Grade:
        return Grade.of(len(trajectory.reply) % 2 == 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("doubt") / "model"
    core = Tokenizer(BPE(vocab={letter: i for i, letter in enumerate("abcdefgh")}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|end|>", additional_special_tokens=list(SPECIAL)
    )
    tokenizer.add_tokens(["<think>", "</think>"])
    tokenizer.chat_template = TEMPLATE
    make_model(vocab_size=len(tokenizer), initializer_range=0.15).save_pretrained(where)
    tokenizer.save_pretrained(where)
    return where


def sampled(folder: Path, top_p: float) -> list[Group]:
    """Groups of eight attempts of up to three turns, as the worker makes them."""
    config = RolloutConfig(
        engine="transformers", group_size=8, num_early=8, max_turns=3, top_p=top_p,
        temperature=0.9, early_pass_rate=(0, 1), pass_rate=(0, 1),
    )  # fmt: skip
    from transformers import AutoTokenizer

    engine = TransformersEngine(str(folder), config, seed=0, max_context=CONTEXT)
    worker = ProblemWorker(
        engine, lambda _: Doubt(), AutoTokenizer.from_pretrained(folder), config,
        RewardsConfig(language_weight=0, length_weight=0), seed=0, max_context=CONTEXT,
    )  # fmt: skip
    (task,) = Doubt().tasks("train")

    async def solve() -> list[Group]:
        found = await worker.solve_all([(index, task, 120) for index in range(4)], version=0)
        await engine.close()
        return [one for one in found if isinstance(one, Group)]

    return asyncio.run(solve())


@pytest.mark.parametrize(("top_p", "loss"), [(1.0, "policy"), (0.9, "gspo")])
def test_the_first_step_on_trees_has_ratio_one_and_learns_the_same_in_every_layout(
    folder, tmp_path, top_p, loss
):
    groups = sampled(folder, top_p)
    told = [attempt.trajectory for group in groups for attempt in group.attempts]
    trees = [one for one in told if one.forks]
    assert len(trees) >= 8
    assert any(len(one.forks) == 2 for one in trees)
    for one in told:
        ends = np.flatnonzero(one.sampled)
        assert max(len(way(int(end), one.forks)) for end in ends) <= CONTEXT

    store = RolloutStore(tmp_path)
    store.write(1, groups, [[0.0] * len(group.attempts) for group in groups])
    batch = build_batch(store.read(1))
    figures = {}
    for layout in Layout:
        learner = Learner(
            folder,
            LearnerConfig(threads=1, learning_rate=1e-3, loss=loss),
            seed=0,
            temperature=0.9,
        )
        assert learner._passes.layout is Layout.SHARED
        object.__setattr__(learner._passes, "layout", layout)
        first = dict(learner.step(batch, clip=Clip()).metrics)
        # on-policy: what the learner computes is what the engine sampled with
        assert first["ratio/max"] == pytest.approx(1.0, abs=1e-4)
        assert first["policy/logp_diff"] < 1e-5
        assert first["policy/mismatch_kl"] < 1e-8
        figures[layout] = first, learner.step(batch, clip=Clip()).metrics
    terms = depth(learner._policy.model, sum(len(one.token_ids) for one in told), backward=True)
    for layout in (Layout.PADDED, Layout.PACKED):
        for tree, alone in zip(figures[Layout.SHARED], figures[layout], strict=True):
            for name in ("learner/loss", "learner/grad_norm", "policy/entropy", "ratio/max"):
                assert tree[name] == near(alone[name], terms, scale=max(1.0, abs(alone[name])))


def test_a_wrong_history_would_be_seen_in_the_ratios(folder):
    """The same tokens as one stream, each after the one before: not as they were sampled."""
    groups = sampled(folder, 1.0)
    batch = build_batch(groups)
    learner = Learner(folder, LearnerConfig(threads=1), seed=0, temperature=0.9)
    for bundle in batch.bundles:
        for sequence in bundle.sequences:
            object.__setattr__(sequence, "forks", ())
    figures = learner.step(batch, clip=Clip()).metrics
    assert figures["ratio/max"] > 1.01
    assert figures["policy/logp_diff"] > 1e-3
    assert torch.isfinite(torch.tensor(figures["learner/loss"]))
