"""A person is told which servers are too slow for an update, and when they are back."""

from __future__ import annotations

import numpy as np
import pytest

from munro.envs.types import KeptTokens
from munro.machine.climb.cluster.learning import LearnerLost
from munro.machine.climb.publisher import Publisher, SyncBroken
from munro.machine.loading import BadConfig, from_overrides
from munro.rl.config import SyncConfig
from munro.rollout.engine import WeightSource
from munro.rollout.store.node import NodeStore
from tests.builders import make_attempt, make_group, make_trajectory


class Sender:
    """A learner whose weights are numbers."""

    def publish(self, version):
        return WeightSource(path="w", version=version)

    def require_alive(self):
        pass

    def score(self, streams):
        return [np.zeros(len(stream), np.float32) for stream in streams]


class Receivers:
    """Servers of which some are late: by version of the weights, their names."""

    def __init__(self, late, wrong=()):
        self.late, self.wrong, self.aside = late, wrong, {}

    def update_weights(self, source, *, drain, deadline_s, meanwhile):
        names = self.late.get(source.version, ())
        self.aside = dict.fromkeys(names, f"driver waited {deadline_s} s")

    def score_each(self, streams, deadline_s):
        named = [n for n in ("server-0", "server-1", "server-2") if n not in self.aside]
        return {n: [np.full(len(s), n in self.wrong, np.float32) for s in streams] for n in named}


def publisher_of(receivers, told):
    return Publisher(
        Sender(), receivers, SyncConfig(), 7, 50, note=lambda _: None, tell=told.append
    )


def test_a_learner_that_dies_while_servers_wait_for_its_weights_ends_the_wait():
    class Dying(Sender):
        def require_alive(self):
            raise LearnerLost("a rank of the learner died while servers take its weights")

    class Waiting(Receivers):
        def update_weights(self, source, *, drain, deadline_s, meanwhile):
            while True:
                meanwhile()

    one = Publisher(
        Dying(), Waiting({}), SyncConfig(), 7, 50, note=lambda _: None, tell=lambda _: None
    )
    with pytest.raises(LearnerLost, match="while servers take its weights"):
        one.publish(1)


def test_who_is_set_aside_and_who_is_back_is_told_once():
    told = []
    one = publisher_of(Receivers({2: ["server-1"], 3: ["server-1", "server-2"]}), told)
    assert one.publish(1) == {"sync/proof": 0}
    assert told == []
    assert one.publish(2)["sync/servers_aside"] == 1
    assert told.pop().startswith("server-1 is set aside: driver waited 7 s. ")
    assert one.publish(3)["sync/servers_aside"] == 2
    assert told.pop().startswith("server-2 is set aside: ")
    assert told == []
    assert "sync/servers_aside" not in one.publish(4)
    assert told == [
        "server-1 is back, with the weights of version 4",
        "server-2 is back, with the weights of version 4",
    ]


def test_those_that_did_take_the_weights_must_still_prove_it():
    one = publisher_of(Receivers({1: ["server-1"]}, wrong=("server-2",)), [])
    with pytest.raises(SyncBroken, match="server-2 and the learner disagree"):
        one.publish(1)


def test_a_quorum_of_more_servers_than_there_are_is_refused():
    asked = [("num_steps", "1"), ("env", "arithmetic"), ("sync.min_servers", "2")]
    with pytest.raises(BadConfig, match=r"sync.min_servers = 2 is more than rollout.servers = 1"):
        from_overrides(asked)


def test_no_proof_is_longer_than_what_a_server_can_score():
    told, asked = [], []
    receivers = Receivers({})
    scored = receivers.score_each
    receivers.score_each = lambda streams, d: asked.extend(map(len, streams)) or scored(streams, d)
    one = Publisher(
        Sender(), receivers, SyncConfig(), 7, 50, note=lambda _: None, tell=told.append, longest=15
    )
    one.publish(1)
    ids = np.arange(16, dtype=np.int32)
    cut_off = make_trajectory(
        token_ids=ids,
        sampled=ids > 3,
        behaviour_logp=np.zeros(16, np.float32),
        kept=KeptTokens.nothing(16),
        versions=np.zeros(16, np.int32),
    )
    store = NodeStore("here", keep_dropped=0)
    group = store.tell(make_group(attempts=(make_attempt(1.0, trajectory=cut_off),)), None)
    one.remember([group.place], store.first_tokens)
    one.publish(2)
    assert asked == [15, 15]
