"""A step shared out by what is told of its groups is the step that whole groups would make."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from munro.rl.advantage import group_relative
from munro.rl.batch import Batch, batch_of, build_batch, weighed
from munro.rl.clip import Clip
from munro.rl.config import LearnerConfig
from munro.rl.learner import Learner
from munro.rl.policy.sequences import TrainingSequence
from munro.rl.sharing import shares
from munro.rollout.store.node import NodeStore
from tests.builders import make_group
from tests.rl.builders import random_group, save_model


def step_of(seed=0, num_groups=5):
    """Groups of unequal length, one of which has nothing to teach; told, and where they lie."""
    rng = np.random.default_rng(seed)
    groups = [
        random_group(
            rng, index=i, num_attempts=3 + i, longest=5 + 9 * i, turns=1 + i % 2, forks=i % 3
        )
        for i in range(num_groups)
    ]
    groups.insert(2, make_group(1.0, 1.0, index=99))
    store = NodeStore("here", keep_dropped=0)
    told = [store.tell(group, lambda one: weighed(one, group_relative)) for group in groups]
    return groups, told, store


def of_ranks(told, store, num_ranks):
    """The batches that ranks make of what they fetch."""
    return [
        batch_of(
            share,
            [one.attempts() for one in store.laid([part.place for part in share.parts])],
        )
        for share in shares(told, num_ranks)
    ]


def bits(batch: Batch):
    """All of it, to the last bit."""

    def of(one: TrainingSequence):
        arrays = (one.token_ids, one.sampled, one.behaviour_logp, one.kept.ids, one.kept.starts)
        return [*((a.dtype.str, a.tobytes()) for a in arrays), one.advantage, one.forks]

    counts = (batch.num_global_tokens, batch.num_global_sequences, batch.counts)
    return counts, [(bundle.num_shared, [*map(of, bundle.sequences)]) for bundle in batch.bundles]


@pytest.mark.parametrize("num_ranks", [1, 2, 3, 7])
@pytest.mark.parametrize("seed", range(3))
def test_what_ranks_make_of_their_shares_is_the_batch_of_the_groups_to_the_last_bit(
    num_ranks, seed
):
    groups, told, store = step_of(seed)
    expected = build_batch(groups).split(num_ranks)
    found = of_ranks(told, store, num_ranks)
    assert [bits(one) for one in found] == [bits(one) for one in expected]
    assert found[0].num_silent_groups == 1


def test_a_step_on_what_was_fetched_is_the_step_on_whole_groups_bit_by_bit(tmp_path):
    model = save_model(tmp_path / "model")
    config = LearnerConfig(learning_rate=1e-3, token_budget=256, threads=1)
    groups, told, store = step_of()
    sides = []
    for batch in (build_batch(groups), *of_ranks(told, store, 1)):
        learner = Learner(model, config, seed=0)
        report = learner.step(batch, clip=Clip())
        weights = [one.detach().numpy().tobytes() for one in learner._policy.parameters()]
        sides.append((report.metrics, weights))
    assert sides[0] == sides[1]


def test_malformed_tokens_are_refused_where_they_are_made():
    group = random_group(np.random.default_rng(0))
    told = group.attempts[0].trajectory
    broken = replace(told, behaviour_logp=np.full_like(told.behaviour_logp, -np.inf))
    attempts = (replace(group.attempts[0], trajectory=broken), *group.attempts[1:])
    store = NodeStore("here", keep_dropped=0)
    with pytest.raises(ValueError, match="no finite behaviour log-prob"):
        store.tell(replace(group, attempts=attempts), lambda one: weighed(one, group_relative))
