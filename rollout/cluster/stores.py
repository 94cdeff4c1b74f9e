"""Where tokens and texts lie: with one actor on every node, which also writes them.

    worker ── hold ──► store of its node ◄── laid ── learner's ranks, which take the arrays
                             ▲
                             └── draft, commit ── driver, which sees none of it

Arrays are put into Ray's object store by the node's actor, which so owns them: a worker's death
loses nothing that it told of, and what does not fit into memory is spilled by Ray.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from munro.rollout import waits
from munro.rollout.cluster.actors import cause_of
from munro.rollout.payload import Columns
from munro.rollout.store.node import Held, NodeStore, PayloadLost, halves
from munro.rollout.telling import Weigh
from munro.rollout.types import Abandoned, Group, Outcome, Place
from munro.rollout.waits import waiting

CALLS_AT_ONCE = 8
"""Of one store: while it writes, workers go on handing in."""


class _StoreActor(NodeStore):
    """A `NodeStore` in a process of its own, with its arrays in Ray's object store."""

    def __init__(self, name: str, run: str, keep_dropped: int) -> None:
        waits.publish(waits.here(run), name)
        super().__init__(name, keep_dropped=keep_dropped, put=ray.put, get=ray.get)

    def host(self) -> str:
        """Of this node."""
        return str(ray.util.get_node_ip_address())

    def sees(self, path: str) -> bool:
        """Whether a file is there for this node too."""
        return Path(path).is_file()

    def hold_all(self, handed: Sequence[tuple[str, Columns | None, bytes]]) -> None:
        """As `NodeStore.hold`, of each."""
        for key, columns, rest in handed:
            self.hold(key, columns, rest)

    def both(self, places: Sequence[Place]) -> list[tuple[str, Any, bytes]]:
        """Key, reference of the arrays, and the rest, of those that it has."""
        held = [(place.key, self._held.get(place.key)) for place in places]
        return [(key, one.columns, one.rest) for key, one in held if one is not None]

    def draft(
        self, folder: str, step: int, places: Sequence[Place], *more: Any, **named: Any
    ) -> None:
        """As `NodeStore.draft`; also what lies with nodes that do not see the folder."""
        elsewhere = [place for place in places if place.key not in self._held]
        for name, numbers in _by_store(elsewhere).items():
            own = [elsewhere[number] for number in numbers]
            for key, columns, rest in ray.get(ray.get_actor(name).both.remote(own)):
                self._held[key] = Held(columns, rest)
        super().draft(folder, step, places, *more, **named)


@dataclass(slots=True)
class _Made:
    """What a worker hands in, and what becomes of it."""

    found: Group | Abandoned
    weigh: Weigh | None
    outcome: Outcome | None = None
    error: Exception | None = None

    def parted(self) -> tuple[str, Columns | None, bytes] | None:
        """For a store, its key first; None of what holds nothing to be kept."""
        try:
            columns, rest, outcome = halves(self.found, self.weigh)
        except Exception as error:  # noqa: BLE001 - told to whoever handed it in
            self.error = error
            return None
        self.outcome = outcome
        if not self.found.attempts:
            return None
        num_bytes = len(rest) if columns is None else columns.num_bytes
        place = Place(store="", key=uuid4().hex, num_bytes=num_bytes)
        self.outcome = replace(outcome, place=place)
        return place.key, columns, rest


class Hands:
    """A worker's way to hand in what it made: to its own node's store, or to any that lives.

    What is made while a call is under way goes with the next, all of it.
    """

    def __init__(self, known: Mapping[str, str]) -> None:
        """
        Args:
            known: names of the stores' actors in Ray, by node.
        """
        own = known.get(ray.get_runtime_context().get_node_id(), "")
        self._names = sorted(known.values(), key=lambda name: name != own)
        self._stores: dict[str, Any] = {}
        self._made: list[_Made] = []
        self._carrying: asyncio.Task[str] | None = None

    async def tell(self, found: Group | Abandoned, weigh: Weigh | None) -> Outcome:
        """Hand in tokens and texts; what the driver is told.

        Raises:
            PayloadLost: no node has a store any more.
            ValueError: a trajectory is malformed.
        """
        one = _Made(found, weigh)
        self._made.append(one)
        if len(self._made) == 1:
            self._carrying = asyncio.create_task(self._carry(self._carrying))
        assert self._carrying is not None
        # others wait for it too: who is given up does not end it for them
        name = await asyncio.shield(self._carrying)
        if one.error is not None:
            raise one.error
        assert one.outcome is not None
        if one.outcome.place is None:
            return one.outcome
        return replace(one.outcome, place=replace(one.outcome.place, store=name))

    async def _carry(self, before: asyncio.Task[str] | None) -> str:
        """Once those before are there: all that was made by then; the store that has it."""
        if before is not None:
            await asyncio.wait([before])
        made, self._made = self._made, []
        handed = await asyncio.to_thread(lambda: [one.parted() for one in made])
        if not (kept := [one for one in handed if one is not None]):
            return ""
        for name in self._names:
            try:
                store = self._stores.get(name) or ray.get_actor(name)  # which asks the cluster
                await store.hold_all.remote(kept)
            except (RayActorError, ValueError):  # its node has died
                self._stores.pop(name, None)
                continue
            self._stores[name] = store
            return name
        raise PayloadLost("no node has a store for tokens any more")


def fetched(places: Sequence[Place]) -> list[Columns]:
    """The arrays of groups, wherever they lie; for a learner's rank.

    Raises:
        PayloadLost: some are gone with their node.
    """
    by_store = _by_store(places)
    try:
        asked = {
            name: ray.get_actor(name).laid.remote([places[number] for number in numbers])
            for name, numbers in by_store.items()
        }
        laid: dict[int, Any] = {}
        for name, numbers in by_store.items():
            laid |= dict(zip(numbers, ray.get(asked[name]), strict=True))
        return list(ray.get([laid[number] for number in range(len(places))]))
    except RayTaskError as error:
        raise cause_of(error) from error
    except (RayError, ValueError) as error:
        raise PayloadLost(f"the tokens of a step's groups are gone: {error}") from error


class Stores:
    """The stores of all nodes, as the driver calls them: as one. Needs a running Ray."""

    def __init__(
        self, run: str, *, keep_dropped: int, deadline_s: float, lasting: str = ""
    ) -> None:
        """
        Args:
            run: the run's folder.
            keep_dropped: tasks given up that are kept for people.
            deadline_s: longest wait for an answer, and for a disk.
            lasting: prefix of their names where they outlive this process, and may be there:
                what they hold is then forgotten, for nobody knows of it any more.
        """
        self._deadline_s = deadline_s
        self._run = run
        self._drafts: dict[tuple[str, int], tuple[dict[str, Any], list[Place]]] = {}
        self.payload_bytes = 0
        """Of attempts that came to the driver: none but where a person reads (`found`)."""
        several = lasting or uuid4().hex
        self.known_as: dict[str, str] = {}
        """Names in Ray by node, for workers."""
        self.actors: dict[str, Any] = {}
        for number, node in enumerate(one for one in ray.nodes() if one["Alive"]):
            # of one that was there before, its node is known by the name
            known = node["NodeID"][:16] if lasting else str(number)
            name = f"{several}/store-{known}"
            options: dict[str, Any] = {"name": name, "num_cpus": 0}
            options["max_concurrency"] = CALLS_AT_ONCE
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(node["NodeID"], False)
            if lasting:
                options |= {"lifetime": "detached", "get_if_exists": True}
            actor = ray.remote(_StoreActor).options(**options)
            self.actors[name] = actor.remote(f"store-{known}", run, keep_dropped)
            if lasting:
                self.actors[name].clear.remote()
            self.known_as[node["NodeID"]] = name

    def missing(self, places: Sequence[Place]) -> list[Place]:
        """Those of them that are there no more."""
        gone: list[Place] = []
        for name, of in self._parted(places).items():
            try:
                gone += self._get(self.actors[name].missing.remote(of), "a store's answer")
            except RayActorError:
                gone += of
        return gone

    def forget(self, places: Sequence[Place]) -> None:
        """Nobody will ask for these any more."""
        for name, of in self._parted(places).items():
            self.actors[name].forget.remote(of)

    def found(self, places: Sequence[Place]) -> list[Group | Abandoned]:
        """These as they were made, but those that are gone: for people, a few at a time."""
        self.payload_bytes += sum(place.num_bytes for place in places)
        asked = [self.actors[n].found.remote(of) for n, of in self._parted(places).items()]
        return [one for answer in asked for one in self._get(answer, "attempts to be shown")]

    def first_tokens(self, place: Place, longest: int | None) -> list[int]:
        """What the last turn of a group's first attempt read and wrote: for a proof."""
        answer = self.actors[place.store].first_tokens.remote(place, longest)
        try:
            return list(self._get(answer, "a group's first tokens"))
        except RayActorError as error:
            raise PayloadLost("a node died with the tokens of a group") from error

    def draft(
        self,
        folder: str,
        step: int,
        places: Sequence[Place],
        advantages: Sequence[Sequence[float] | None],
        *,
        to_read: bool = False,
    ) -> None:
        """Let every node begin to write its part of a step; see `NodeStore.draft`."""
        writers = self._writers
        by_writer: defaultdict[str, list[int]] = defaultdict(list)
        for name, numbers in _by_store(places).items():
            by_writer[writers[name]] += numbers
        drafts: dict[str, Any] = {}
        for part, (name, numbers) in enumerate(sorted(by_writer.items())):
            own = ([places[n] for n in sorted(numbers)], [advantages[n] for n in sorted(numbers)])
            drafts[name] = self.actors[name].draft.remote(
                folder, step, *own, to_read=to_read, part=part
            )
        self._drafts[folder, step] = drafts, [p for p in places if writers[p.store] != p.store]

    @cached_property
    def _writers(self) -> dict[str, str]:
        """Who writes what each store holds: itself, or this node's where it sees no run folder."""
        if len(self.actors) == 1:
            return {name: name for name in self.actors}
        probe = Path(self._run) / f".seen-{uuid4().hex}"
        probe.touch()
        try:
            asked = {name: one.sees.remote(str(probe)) for name, one in self.actors.items()}
            sees = {
                n: self._get(answer, "a node to look for the run") for n, answer in asked.items()
            }
        finally:
            probe.unlink()
        ours = self.known_as[ray.get_runtime_context().get_node_id()]
        return {name: name if sees[name] else ours for name in self.actors}

    def commit(self, folder: str, step: int, most_bytes: int | None = None) -> dict[int, str]:
        """Wait for the parts and let them be seen, the first one last.

        Returns:
            The host of every part.

        Raises:
            StoreError: a disk refused.
            PayloadLost: a node died meanwhile.
        """
        (drafts, elsewhere), what = self._drafts.pop((folder, step)), f"step {step} to be stored"
        hosts: dict[int, str] = {}
        try:
            self._get(list(drafts.values()), what)
            for part, name in reversed([*enumerate(drafts)]):
                store = self.actors[name]
                self._get(store.commit.remote(folder, step, most_bytes, part=part), what)
                if len(drafts) > 1:
                    hosts[part] = self._get(store.host.remote(), what)
        except RayActorError as error:
            raise PayloadLost(f"a node died before its part of step {step} was stored") from error
        self.forget(elsewhere)
        return hosts

    def close(self) -> None:
        """End all of them, and what they hold."""
        for actor in self.actors.values():
            ray.kill(actor, no_restart=True)

    def _parted(self, places: Sequence[Place]) -> dict[str, list[Place]]:
        return {name: [places[n] for n in numbers] for name, numbers in _by_store(places).items()}

    def _get(self, answer: Any, what: str) -> Any:
        try:
            with waiting(what, self._deadline_s) as wait:
                return ray.get(answer, timeout=wait.remaining)
        except RayTaskError as error:
            raise cause_of(error) from error


def _by_store(places: Sequence[Place]) -> dict[str, list[int]]:
    found: defaultdict[str, list[int]] = defaultdict(list)
    for number, place in enumerate(places):
        found[place.store].append(number)
    return dict(found)
