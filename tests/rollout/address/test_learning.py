"""The learner computes what the engine sampled with, on every run of an agent that branches."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from munro.rewards.config import RewardsConfig
from munro.rl.batch import build_batch
from munro.rl.clip import Clip
from munro.rl.config import LearnerConfig
from munro.rl.learner import Learner
from munro.rl.policy.packing import Layout
from munro.rollout.config import RolloutConfig
from munro.rollout.problem import ProblemWorker
from munro.rollout.store.store import RolloutStore
from munro.rollout.transformers_engine import TransformersEngine
from munro.rollout.types import Group
from tests.rl.builders import make_model
from tests.rollout.address.agents import TASK, Agent, chat, said, user
from tests.rollout.builders import make_tokenizer

CONTEXT = 400


def wandering():
    """Goes on, forgets, asks two things at once, and begins anew; right every other time."""
    runs = itertools.count()

    async def agent(address):
        short = {"max_tokens": 4}
        first = [user("ab")]
        first += [said(await chat(address, *first, **short)), user("cd")]
        await asyncio.gather(*(chat(address, *first, user(part), **short) for part in "ef"))
        await chat(address, first[0], user("[left out]"), **short)
        await chat(address, {"role": "system", "content": "gh"}, user("ab"), **short)
        return next(runs) % 2 == 0

    return Agent(agent)


@pytest.mark.parametrize(("template", "top_p", "root"), [("chat", 1.0, 0), ("plain", 0.9, -1)])
async def test_every_run_is_learned_from_with_ratio_one(tmp_path, template, top_p, root):
    folder = tmp_path / "model"
    tokenizer = make_tokenizer()
    make_model(vocab_size=len(tokenizer), initializer_range=0.15).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    config = RolloutConfig(
        engine="transformers", group_size=2, num_early=2, top_p=top_p, temperature=0.9,
        early_pass_rate=(0, 1), pass_rate=(0, 1), template=template,
    )  # fmt: skip
    engine = TransformersEngine(str(folder), config, seed=0, max_context=CONTEXT)
    environment = wandering()
    worker = ProblemWorker(
        engine, lambda _: environment, tokenizer, config,
        RewardsConfig(language_weight=0, length_weight=0), seed=0, max_context=CONTEXT,
    )  # fmt: skip
    group = await worker.solve(0, TASK, 100)
    await engine.close()
    assert isinstance(group, Group), group
    for attempt in group.attempts:
        assert len(attempt.trajectory.forks) >= 3
        # what begins otherwise shares the first mark of its template, or nothing
        assert min(after for _, after in attempt.trajectory.forks) == root
    store = RolloutStore(tmp_path / "rollouts")
    store.write(1, [group], [[0.0] * len(group.attempts)])
    batch = build_batch(store.read(1))
    assert batch.num_global_tokens == sum(one.trajectory.num_sampled for one in group.attempts)
    for layout in Layout:
        learner = Learner(folder, LearnerConfig(threads=1), seed=0, temperature=0.9)
        object.__setattr__(learner._passes, "layout", layout)
        first = learner.step(batch, clip=Clip()).metrics
        assert first["ratio/max"] == pytest.approx(1.0, abs=1e-4)
        assert first["policy/logp_diff"] < 1e-5
