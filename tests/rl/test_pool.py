"""The learner's ranks as Ray actors, called as one."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import ray
from ray.exceptions import RayActorError

from munro.rl.batch import Weigher, build_batch
from munro.rl.clip import Clip
from munro.rl.cluster import LearnerPool
from munro.rl.config import DeadlinesConfig, LearnerConfig
from munro.rl.learner import Learner
from munro.rollout.cluster.stores import Stores
from munro.rollout.store.node import PayloadLost, halves
from munro.rollout.types import Place
from munro.rollout.weights import SharedMemoryWeights
from tests.rl.builders import make_model, random_group, save_model
from tests.rounding import depth, near

pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
CONFIG = LearnerConfig(learning_rate=1e-3, eps=1e-6, token_budget=64, threads=1)
TEXT = [3, 1, 4, 1, 5, 9]


def test_two_actors_are_one_learner(local_ray, tmp_path: Path):
    model = save_model(tmp_path / "model")
    rng = np.random.default_rng(0)
    groups = [random_group(rng, index=i) for i in range(3)]
    batch = build_batch(groups)
    stores = Stores(str(tmp_path), keep_dropped=0, deadline_s=60)
    outcomes = handed_in(stores, groups)
    alone = Learner(model, CONFIG, seed=0)
    two = CONFIG.model_copy(update={"ranks": 2})
    shared = SharedMemoryWeights(tmp_path / "shared")
    pool = LearnerPool(model, two, deadlines=DeadlinesConfig(), seed=0, transfer=shared)
    try:
        terms = depth(alone._policy.model, 200, backward=True)
        ours = pool.step(outcomes, clip=Clip())
        theirs = alone.step(batch, clip=Clip())
        for name in theirs.metrics.keys() - {"learner/computed_tokens"}:
            figure = theirs.metrics[name]
            assert ours.metrics[name] == near(figure, terms, scale=max(1.0, abs(figure)))
        assert pool.score([TEXT])[0] == pytest.approx(alone.score([TEXT])[0], abs=1e-3)

        source = pool.publish(1)
        assert (Path(source.path).is_file(), source.version) == (True, 1)

        pool.save(tmp_path / "saved", {"step": 1})
        alone.load(tmp_path / "saved")
        assert pool.score([TEXT])[0] == near(alone.score([TEXT])[0], terms)

        # what a rank raises reaches the caller as itself
        foreign = save_model(tmp_path / "foreign", make_model(hidden_size=64))
        with pytest.raises(ValueError, match="holds another model"):
            pool.load(foreign)

        # tokens that are gone are told before any rank begins to wait for another
        stores.forget([outcomes[1].place])
        while not stores.missing([outcomes[1].place]):
            time.sleep(0.1)
        with pytest.raises(PayloadLost, match="not in their node's store"):
            pool.step(outcomes, clip=Clip())
        assert pool.step([outcomes[0], outcomes[2]], clip=Clip()).metrics["learner/groups"] == 2
    finally:
        pool.close()
        stores.close()


def pid_of(pool, rank):
    return pool.run_on(rank, os.getpid)


def test_a_dead_rank_is_replaced_by_a_spare_and_the_others_keep_their_processes(
    local_ray, tmp_path: Path
):
    model = save_model(tmp_path / "model")
    rng = np.random.default_rng(0)
    stores = Stores(str(tmp_path), keep_dropped=0, deadline_s=60)
    groups = handed_in(stores, [random_group(rng, index=i) for i in range(3)])
    two = CONFIG.model_copy(update={"ranks": 2, "standby": 1})
    pool = LearnerPool(model, two, deadlines=DeadlinesConfig(), seed=0)
    try:
        pool.step(groups, clip=Clip())
        pool.save(tmp_path / "saved", {"step": 1}, wait=True, export=True)
        expected = pool.step(groups, clip=Clip())
        before = [pid_of(pool, rank) for rank in range(2)]
        spare = ray.get(pool._spares[0].run.remote(os.getpid))
        os.kill(before[1], signal.SIGKILL)
        with pytest.raises((RayActorError, RuntimeError)):
            pool.step(groups, clip=Clip())
        assert pool.again() == 1
        assert [pid_of(pool, rank) for rank in range(2)] == [before[0], spare]
        pool.load(tmp_path / "saved")
        again = pool.step(groups, clip=Clip())
        # the same group, re-made in the same places: the same sums in the same order
        assert again.metrics == expected.metrics
        assert ray.get(pool._spares[0].run.remote(os.getpid)) not in [*before, spare]
    finally:
        pool.close()
        stores.close()


def handed_in(stores, groups):
    """What a driver is told of groups that lie in Ray's object store."""
    (name, actor), *_ = stores.actors.items()
    outcomes = []
    for group in groups:
        columns, rest, outcome = halves(group, Weigher(CONFIG))
        ray.get(actor.hold.remote(str(group.index), columns, rest))
        outcomes.append(replace(outcome, place=Place(store=name, key=str(group.index))))
    return outcomes
