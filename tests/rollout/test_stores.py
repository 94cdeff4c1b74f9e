"""Stores of several nodes: each writes its part, or another does it that sees the run's folder."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
import ray

from munro.rollout.cluster.stores import Hands, Stores, _StoreActor, fetched
from munro.rollout.store.node import PayloadLost, halves
from munro.rollout.store.store import RolloutStore
from munro.rollout.types import Place, places_of
from tests.builders import make_group

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]


@pytest.fixture
def two(tmp_path):
    """Stores of two nodes, as far as anybody can tell."""
    stores = Stores(str(tmp_path), keep_dropped=0, deadline_s=300)
    (first,) = stores.actors
    second = f"{first}-of-another-node"
    actor = ray.remote(_StoreActor).options(name=second, num_cpus=0, max_concurrency=8)
    stores.actors[second] = actor.remote("store-1", str(tmp_path), 0)
    yield stores, first, second
    stores.close()


def held(stores, *names):
    """A group with each of these stores, as the driver is told of it."""
    outcomes = []
    for index, name in enumerate(names):
        columns, rest, outcome = halves(make_group(index=index), None)
        ray.get(stores.actors[name].hold.remote(str(index), columns, rest))
        outcomes.append(replace(outcome, place=Place(store=name, key=str(index))))
    return outcomes


def test_each_node_writes_its_part_and_the_step_is_there_when_all_are(two, tmp_path):
    stores, first, second = two
    outcomes = held(stores, second, first, second)
    folder = str(tmp_path / "rollouts")
    stores.draft(folder, 4, places_of(outcomes), [[1.0, -1.0]] * 3)
    assert set(stores.commit(folder, 4)) == {0, 1}
    written = RolloutStore(folder)
    assert [group.index for group in written.read(4)] == [0, 1, 2]
    names = sorted(path.name for path in written.folder.iterdir())
    assert names == ["step-000004.p1.parquet", "step-000004.parquet"]
    assert set(stores.missing(places_of(outcomes))) == set(places_of(outcomes))
    assert stores.payload_bytes == 0


def test_what_lies_where_the_folder_is_not_seen_is_written_by_the_driver_s_node(two, tmp_path):
    stores, first, second = two
    stores.__dict__["_writers"] = {first: first, second: first}
    outcomes = held(stores, second, first)
    folder = str(tmp_path / "rollouts")
    stores.draft(folder, 4, places_of(outcomes), [[1.0, -1.0]] * 2)
    assert stores.commit(folder, 4) == {}
    written = RolloutStore(folder)
    assert [group.index for group in written.read(4)] == [0, 1]
    assert [path.name for path in written.folder.iterdir()] == ["step-000004.parquet"]
    while gone := set(places_of(outcomes)) - set(stores.missing(places_of(outcomes))):
        assert {place.store for place in gone} == {second}  # told, and not waited for


def test_tokens_of_a_node_that_died_are_told_as_lost(two):
    stores, first, second = two
    outcomes = held(stores, first, second)
    assert [len(one.attempts()) for one in fetched(places_of(outcomes))] == [2, 2]
    ray.kill(stores.actors[second])
    assert stores.missing(places_of(outcomes)) == [outcomes[1].place]
    with pytest.raises(PayloadLost, match="gone"):
        fetched(places_of(outcomes))


class Counted:
    """A store's actor, with the number of groups in each call."""

    def __init__(self, actor):
        self.actor, self.calls = actor, []

    @property
    def hold_all(self):
        return self

    def remote(self, made):
        self.calls.append(len(made))
        return self.actor.hold_all.remote(made)


async def test_what_is_made_while_a_call_is_under_way_goes_with_the_next(two):
    stores, first, _ = two
    hands = Hands({"a-node": first})
    hands._stores[first] = counted = Counted(stores.actors[first])
    telling = [asyncio.create_task(hands.tell(make_group(index=i), None)) for i in range(20)]
    given_up = telling[7]
    while not counted.calls:
        await asyncio.sleep(0)
    given_up.cancel()
    done = await asyncio.gather(*telling, return_exceptions=True)
    assert isinstance(done[7], asyncio.CancelledError)
    told = [one for one in done if not isinstance(one, BaseException)]
    assert [one.index for one in told] == [i for i in range(20) if i != 7]
    assert stores.missing(places_of(told)) == []
    assert len(counted.calls) < sum(counted.calls) <= 20


async def test_what_a_node_does_not_take_any_more_goes_to_another_or_is_told(two):
    stores, first, second = two
    hands = Hands({"a": first, "b": second})
    assert (await hands.tell(make_group(index=0), None)).place.store == first
    ray.kill(stores.actors[first])
    assert (await hands.tell(make_group(index=1), None)).place.store == second
    ray.kill(stores.actors[second])
    with pytest.raises(PayloadLost, match="no node has a store"):
        await hands.tell(make_group(index=2), None)
