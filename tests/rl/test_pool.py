"""The learner's ranks as Ray actors, called as one."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import ray
from ray.exceptions import RayActorError

from munro.rl.batch import build_batch
from munro.rl.clip import Clip
from munro.rl.cluster import LearnerPool
from munro.rl.config import DeadlinesConfig, LearnerConfig
from munro.rl.learner import Learner
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
    batch = build_batch([random_group(rng, index=i) for i in range(3)])
    alone = Learner(model, CONFIG, seed=0)
    two = CONFIG.model_copy(update={"ranks": 2})
    shared = SharedMemoryWeights(tmp_path / "shared")
    pool = LearnerPool(model, two, deadlines=DeadlinesConfig(), seed=0, transfer=shared)
    try:
        terms = depth(alone._policy.model, 200, backward=True)
        ours, theirs = (learner.step(batch, clip=Clip()) for learner in (pool, alone))
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
    finally:
        pool.close()


def pid_of(pool, rank):
    return pool.run_on(rank, os.getpid)


def test_a_dead_rank_is_replaced_by_a_spare_and_the_others_keep_their_processes(
    local_ray, tmp_path: Path
):
    model = save_model(tmp_path / "model")
    rng = np.random.default_rng(0)
    batch = build_batch([random_group(rng, index=i) for i in range(3)])
    two = CONFIG.model_copy(update={"ranks": 2, "standby": 1})
    pool = LearnerPool(model, two, deadlines=DeadlinesConfig(), seed=0)
    try:
        pool.step(batch, clip=Clip())
        pool.save(tmp_path / "saved", {"step": 1}, wait=True, export=True)
        expected = pool.step(batch, clip=Clip())
        before = [pid_of(pool, rank) for rank in range(2)]
        spare = ray.get(pool._spares[0].run.remote(os.getpid))
        os.kill(before[1], signal.SIGKILL)
        with pytest.raises((RayActorError, RuntimeError)):
            pool.step(batch, clip=Clip())
        assert pool.again() == 1
        assert [pid_of(pool, rank) for rank in range(2)] == [before[0], spare]
        pool.load(tmp_path / "saved")
        again = pool.step(batch, clip=Clip())
        # the same group, re-made in the same places: the same sums in the same order
        assert again.metrics == expected.metrics
        assert ray.get(pool._spares[0].run.remote(os.getpid)) not in [*before, spare]
    finally:
        pool.close()
