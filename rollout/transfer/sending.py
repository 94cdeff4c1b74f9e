"""The learner's side: each rank keeps its own part of the published weights, and sends from it.

    publish ──► a copy of this rank's shards ──► WeightSource (where the learner is found)
    a server asks ──► a thread, a group, the plan's messages ──► acknowledged ──► group ends

What was published stays until the next version is: a server that comes late, or again, finds it
whatever the learner does meanwhile.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, distributed

from munro.rollout.engine import WeightSource
from munro.rollout.transfer.asking import ASKS, HELD, LEFT, Ask, Update, answer_key, layout_key
from munro.rollout.transfer.group import (
    Address,
    Group,
    Store,
    Until,
    found,
    hosted,
    opened,
    read,
)
from munro.rollout.transfer.packing import Buffers, pack
from munro.rollout.transfer.plan import Plan, PlanError, compile
from munro.rollout.transfer.types import Box, Layout

log = logging.getLogger(__name__)

IN_FLIGHT = 2
"""Messages on their way to one server's rank: one is packed while another is sent."""
KEPT_ASKS = 1024
"""Askings that the other ranks may be behind the first."""
A_DAY_S = 86_400.0
NO_MORE = "it has withdrawn its weights and published no others yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shards:
    """One rank's part of the weights, by their names in the checkpoint."""

    held: Layout
    """Of all ranks."""
    part: Callable[[str, Box], Tensor]
    """A box that this rank holds."""


class GroupWeights:
    """Implements `munro.rollout.weights.WeightTransfer` for ranks that each send what they hold.

    One in each of the learner's processes; the first has the store at which all meet.
    """

    through_host = False

    def __init__(self, *, within_s: float, bucket_bytes: int, address: str = "127.0.0.1") -> None:
        """
        Args:
            within_s: longest that a transfer to one server may take.
            bucket_bytes: that are sent at once to one rank of a server.
            address: by which other nodes reach the node of the first rank.
        """
        self._within_s, self._bucket_bytes, self._address = within_s, bucket_bytes, address
        self._rank = 0
        self._store: Store | None = None
        self._answers: Store | None = None
        self._where: Address | None = None
        self._accepting: threading.Thread | None = None
        self._now: tuple[int, Shards] | None = None
        self._device = torch.device("cpu")
        self._plans: dict[tuple[str, int], Plan] = {}
        self._guard = threading.Lock()
        self._open: dict[str, Group] = {}
        self.sent = 0
        """Bytes of weights that this rank has sent since it started."""

    def at(self, host: str) -> GroupWeights:
        """See `munro.rollout.weights.WeightTransfer.at`."""
        return GroupWeights(within_s=self._within_s, bucket_bytes=self._bucket_bytes, address=host)

    def __reduce__(self) -> tuple[Any, ...]:
        """Crosses to a learner's process before it is used."""
        return _made, (self._within_s, self._bucket_bytes, self._address)

    def publish(self, named_tensors: Any, version: int) -> WeightSource:
        """Whole tensors are nothing that it sends."""
        raise NotImplementedError("every rank publishes its shards: see publish_shards")

    def withdraw(self) -> bool:
        """Send what was published to nobody any more; whether nobody reads it now.

        Whoever is still being sent it is cut off, and who asks is refused until the next comes.
        """
        with self._guard:
            late, self._open = self._open, {}
            self._now = None
        for group in late.values():
            group.abort()
        return not late

    def publish_shards(
        self, shards: Shards, version: int, *, rank: int, device: torch.device
    ) -> WeightSource | None:
        """Have servers find these weights as `version`. Every rank must call it.

        Whoever is still being sent an older version is cut off.

        Returns:
            What servers must be told, on the first rank.
        """
        self._rank, self._device = rank, device
        self.withdraw()
        self._now = (version, shards)
        if self._accepting is None:
            self._begin(shards.held)
        if rank:
            return None
        assert self._where is not None
        update = Update(version=version, within_s=self._within_s, bucket_bytes=self._bucket_bytes)
        return WeightSource(
            path="", version=version, meeting=asdict(self._where), update=asdict(update)
        )

    def settle(self) -> None:
        """Nothing to do: the weights stay for a server that comes later."""

    def leave(self) -> None:
        """See `munro.rollout.weights.WeightTransfer.leave`."""
        self.close()

    def close(self) -> None:
        """End: no server is sent anything any more."""
        self.withdraw()
        if self._rank == 0 and self._store is not None:
            self._store.set(LEFT, b"1")
            self._store.queue_push(ASKS, "")

    def _begin(self, held: Layout) -> None:
        if self._rank == 0:
            self._store, self._where = hosted(self._address)
            self._store.set(HELD, held.packed())
        told: list[Any] = [self._where]
        if distributed.is_initialized() and distributed.get_world_size() > 1:
            distributed.broadcast_object_list(told, src=0)
        self._where = told[0]
        assert self._where is not None
        # of its own, for no call on it waits: that of `_accept` does
        self._answers = self._store or found(self._where, Until.within(self._within_s))
        self._accepting = threading.Thread(target=self._accept, daemon=True, name="weights_asked")
        self._accepting.start()

    def _accept(self) -> None:
        """Take one asking after another; the first rank hands them to the others, in order."""
        assert self._where is not None
        store = found(self._where, Until.within(self._within_s))
        number = 0
        while True:
            until = Until.within(A_DAY_S)
            store.set_timeout(until.left)
            try:
                if self._rank == 0:
                    packed = store.queue_pop(ASKS)
                    store.set(f"{ASKS}/{number}", packed)
                else:
                    packed = store.get(f"{ASKS}/{number}")
            except RuntimeError as error:
                if until.is_over:
                    continue
                log.warning("servers can ask for weights no more: %s", first_line(error))
                return
            if not packed:
                return
            if self._rank == 0 and number >= KEPT_ASKS:
                store.delete_key(f"{ASKS}/{number - KEPT_ASKS}")
            number += 1
            ask = Ask.unpacked(packed)
            threading.Thread(target=self._answer, args=(ask,), daemon=True).start()

    def _answer(self, ask: Ask) -> None:
        """Serve one asking, on a thread of its own; a server that fails is its own affair."""
        assert self._answers is not None
        until, now = Until.within(ask.within_s), self._now
        try:
            if now is None:
                if self._rank == 0:
                    self._answers.set(answer_key(ask.session), NO_MORE)
                return
            version, shards = now
            plan, why_not = self._agreed(ask, version, shards.held, until)
            if self._rank == 0:
                self._answers.set(answer_key(ask.session), why_not)
            if plan is not None and self._rank in (sources := plan.feeds(ask.rank)):
                place = sources.index(self._rank)
                meeting = found(ask.address, until)
                members, watch = len(sources) + 1, partial(self._require, version)
                with (
                    opened(
                        meeting, ask.session, place, members, until, self._device, watch=watch
                    ) as g,
                    self._known(ask, g),
                ):
                    self._stream(ask, plan, shards, g, len(sources))
        except RuntimeError as error:
            log.warning(
                "weights of version %d did not all reach %s: %s",
                ask.version,
                ask.server,
                first_line(error),
            )

    def _agreed(
        self, ask: Ask, version: int, held: Layout, until: Until
    ) -> tuple[Plan | None, str]:
        """The plan that both sides have compiled; or why there is none."""
        if ask.version != version:
            return None, f"it asked for version {ask.version}, and the learner has {version}"
        if ask.device != self._device.type:
            return None, (
                f"it has its weights on {ask.device} and the learner on {self._device.type}: no "
                'process group has both. Set sync.transport = "file"'
            )
        try:
            plan = self._plan(ask.layout, ask.slice, until, held)
        except PlanError as error:
            return None, str(error)
        if plan.digest != ask.plan:
            return None, (
                f"its plan is {ask.plan[:12]} and the learner's {plan.digest[:12]}: they do not "
                "run the same version of Munro, or not the same model"
            )
        return plan, ""

    def _require(self, version: int) -> None:
        if self._now is None or self._now[0] != version:
            raise RuntimeError("a newer version was published")

    @contextmanager
    def _known(self, ask: Ask, group: Group) -> Iterator[None]:
        """A new version ends this group, if it has not come meanwhile."""
        with self._guard:
            self._require(ask.version)
            self._open[ask.session] = group
        try:
            yield
        finally:
            with self._guard:
                self._open.pop(ask.session, None)

    def _plan(self, layout: str, number: int, until: Until, held: Layout) -> Plan:
        with self._guard:
            if (layout, number) not in self._plans:
                wanted = Layout.unpacked(read(self._answers, layout_key(layout), until))
                self._plans[layout, number] = sliced(held, wanted, number, self._bucket_bytes)
            return self._plans[layout, number]

    def _stream(self, ask: Ask, plan: Plan, shards: Shards, group: Group, to: int) -> None:
        going: list[tuple[Any, Tensor]] = []
        buffers = Buffers(self._device)
        for bucket in plan.messages(ask.rank, self._rank)[ask.bucket :]:
            for message in bucket:
                packed = pack(message.moves, shards.part, buffers)
                going.append((group.send(packed, to, 0), packed))
                self.sent += sum(move.bytes for move in message.moves)
                if len(going) >= IN_FLIGHT:
                    work, packed = going.pop(0)
                    group.done(work)
                    buffers.give(packed)
        for work, _ in going:
            group.done(work)
        # it closes the group when it has all of it; closed here, the last bytes might be lost
        group.done(group.receive(torch.empty(1, dtype=torch.uint8, device=self._device), to, 1))


def _made(within_s: float, bucket_bytes: int, address: str) -> GroupWeights:
    return GroupWeights(within_s=within_s, bucket_bytes=bucket_bytes, address=address)


def sliced(held: Layout, wanted: Layout, number: int, bucket_bytes: int) -> Plan:
    """The plan for that slice of the fleet: other sources than those before it, where there are."""
    given: Counter[int] = Counter()
    plan = compile(held, wanted, bucket_bytes=bucket_bytes)
    for _ in range(number):
        given.update(plan.bytes_by_source())
        after = compile(held, wanted, bucket_bytes=bucket_bytes, given=given)
        if after.digest == plan.digest:
            return plan  # nothing is held twice
        plan = after
    return plan


def first_line(error: BaseException) -> str:
    """An error as half a sentence."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
