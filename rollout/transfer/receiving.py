"""A server's side: ask for a version, take its boxes in bucket by bucket, hand them on.

    ask ──► group with those that hold what this rank wants ──► a bucket whole and checked ──► boxes
                                                                       └──► followers, as it came

A bucket is handed out only once all of it has come and its checksums are right, so whoever loses
the server that fed it goes on from there with the learner.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from uuid import uuid4

import torch
from torch import Tensor

from munro.rollout.transfer.asking import (
    ASKS,
    HELD,
    LEFT,
    Ask,
    NotReceived,
    Update,
    answer_key,
    layout_key,
    relay_key,
)
from munro.rollout.transfer.group import (
    FIND_S,
    Address,
    Group,
    Store,
    Until,
    address_towards,
    are_there,
    found,
    hosted,
    opened,
    read,
    require_there,
)
from munro.rollout.transfer.packing import Buffers, Corrupt, message_bytes, unpack
from munro.rollout.transfer.plan import Message, Plan, PlanError
from munro.rollout.transfer.sending import first_line, sliced
from munro.rollout.transfer.types import Box, Layout, Move, Wanted

log = logging.getLogger(__name__)

PULSE_S = 0.05
"""How often a wait for another thread looks whether it is still there."""
STILL_S = 60.0
"""Longest that nothing of a bucket may come from a learner that is there. Where a member of a group
dies, gloo may close the connections of the others to each other and leave those who wait on them
waiting."""
PATIENCE = 0.25
"""Of the time for a transfer, how long one waits for another server, in a relay, to begin or to
take a bucket; then the learner feeds it, or it is no longer waited for."""

Bucket = list[tuple[Message, Tensor]]


class Receiver:
    """One process of a server, for as long as its engine lives.

    Example:
        receiver = Receiver(wanted, device=torch.device("cpu"))
        for name, box, tensor in receiver.receive(source.meeting, source.update):
            ...  # copy it into place: the tensor's memory is used again
        # all of it has come: the version may be served
    """

    def __init__(
        self,
        wanted: Iterable[Wanted] | Layout,
        *,
        device: torch.device,
        rank: int = 0,
        ranks: int = 1,
        takes_all: bool = False,
    ) -> None:
        """
        Args:
            wanted: by this rank, of the tensors of the checkpoint.
            device: where the tensors are to be handed out.
            rank: of this process in its server.
            ranks: of the server.
            takes_all: it is an error where the learner has weights that the server does not want.
        """
        self._takes_all = takes_all
        self._own = wanted if isinstance(wanted, Layout) else Layout.of(wanted)
        self._device, self._rank, self._ranks = device, rank, ranks
        self._link: _Link | None = None
        self._failed = -1
        self.received = 0
        """Bytes of weights that have come in since it was made."""

    @property
    def layout(self) -> str:
        """Digest of what this rank wants."""
        return self._own.digest

    def receive(
        self, meeting: Mapping[str, Any], update: Mapping[str, Any]
    ) -> Iterator[tuple[str, Box, Tensor]]:
        """Every wanted element of the update's version once, in boxes.

        A tensor may be of a narrower precision than what is wanted; it lies in a buffer that goes
        when the next is asked for. When the last was taken, all checksums have been right.

        Raises:
            NotReceived: the learner refused, a sender died, the time is over, or what came is not
                what was sent. What was taken by then is of a version that is not whole.
        """
        told = Update.of(update)
        until = Until.within(told.within_s)
        try:
            yield from self._receive(Address(**meeting), told, until)
        except (RuntimeError, Corrupt, PlanError) as error:
            self._failed, self._link = told.version, None
            why = "the time for it is over" if until.is_over else first_line(error)
            raise NotReceived(f"weights of version {told.version} did not come: {why}") from error

    def _receive(
        self, meeting: Address, update: Update, until: Until
    ) -> Iterator[tuple[str, Box, Tensor]]:
        if self._link is None or self._link.meeting != meeting:
            self._link = _Link.to(meeting, until)
        link = self._link
        layout = self._agree_on_layout(link, update, until)
        plan = link.plan(layout, update)
        if plan.unwanted and self._takes_all:
            raise PlanError(
                f"{plan.unwanted[0]}: the learner has it, and the server's model has no such weight"
            )
        # whoever fed it the last time may be why it did not come
        feeder = "" if self._failed == update.version else update.feeder
        done, buffers = 0, Buffers(self._device)
        with ExitStack() as stack:
            inner = self._inner(stack, link, update, until)
            followers = [
                self._feeding(link, plan, update, name, until) for name in update.followers
            ]
            stack.push(partial(_left_alone, followers))
            while True:
                ask = self._ask(layout.digest, plan, update, done)
                try:
                    for bucket in self._buckets(link, plan, ask, feeder, buffers, until):
                        bucket_of_all = self._shared(plan, done, bucket, inner, buffers)
                        pieces = self._checked(plan, bucket_of_all)
                        for follower in followers:
                            follower.hand(bucket)
                        self.received += sum(move.bytes for move, _ in pieces)
                        for move, tensor in pieces:
                            yield move.name, move.box, tensor
                        done += 1
                        if not followers:  # which are sent it in their own time
                            for _, buffer in bucket_of_all:
                                buffers.give(buffer)
                    break
                except (RuntimeError, Corrupt):
                    if not feeder:
                        raise
                    feeder = ""  # the learner has it all
            for follower in followers:
                follower.hand(None)
            if inner is not None:
                inner.meet()

    def _agree_on_layout(self, link: _Link, update: Update, until: Until) -> Layout:
        """What all ranks of this server want; the learner finds it by its digest."""
        layout = self._own
        if self._ranks > 1:
            key = f"{update.session}/layout"
            link.store.set(f"{key}/{self._rank}", self._own.packed())
            layout = Layout.joined(
                [Layout.unpacked(link.read(f"{key}/{r}", until)) for r in range(self._ranks)]
            )
        if not link.store.check([layout_key(layout.digest)]):
            link.store.set(layout_key(layout.digest), layout.packed())
        return layout

    def _inner(self, stack: ExitStack, link: _Link, update: Update, until: Until) -> Group | None:
        """The group of this server's ranks, by which a lead hands on what others want too."""
        if self._ranks == 1:
            return None
        name = f"{update.session}/inner"
        return stack.enter_context(
            opened(found(link.meeting, until), name, self._rank, self._ranks, until, self._device)
        )

    def _feeding(
        self, link: _Link, plan: Plan, update: Update, name: str, until: Until
    ) -> _Follower:
        """Begin to feed another server."""
        follower = _Follower(PATIENCE * update.within_s)
        key = relay_key(update.version, update.server, name, self._rank)
        arguments = (link, key, plan, self._device, until)
        threading.Thread(target=follower.feed, args=arguments, daemon=True).start()
        return follower

    def _ask(self, layout: str, plan: Plan, update: Update, bucket: int) -> Ask:
        return Ask(
            session=uuid4().hex,
            server=update.server,
            rank=self._rank,
            address=Address("", 0),
            version=update.version,
            slice=update.slice,
            layout=layout,
            plan=plan.digest,
            bucket=bucket,
            device=self._device.type,
            within_s=update.within_s,
        )

    def _buckets(
        self, link: _Link, plan: Plan, ask: Ask, feeder: str, buffers: Buffers, until: Until
    ) -> Iterator[Bucket]:
        """From `ask.bucket` on, each whole; the next is on its way meanwhile."""
        sources = plan.feeds(self._rank)
        if not sources:
            yield from ([] for _ in range(ask.bucket, plan.num_buckets))
            return
        store, address = hosted(address_towards(link.meeting.host))
        ask = replace(ask, address=address)
        patience_s = STILL_S
        if feeder:
            patience_s = PATIENCE * ask.within_s
            link.store.set(relay_key(ask.version, feeder, ask.server, ask.rank), ask.packed())
        else:
            link.ask(ask, until)
        members = [0] * len(sources) if feeder else list(range(len(sources)))
        place = dict(zip(sources, members, strict=True))
        size = len(set(members)) + 1
        with opened(
            store,
            ask.session,
            size - 1,
            size,
            until,
            self._device,
            patience_s=patience_s,
            watch=link.watch,
        ) as group:
            if not feeder:  # another server goes on with what it has, whatever the learner does
                group.watch = link.watch
            todo = plan.messages(self._rank)[ask.bucket :]
            coming = self._begin(group, todo[0], place, buffers) if todo else []
            for i in range(len(todo)):
                rest = todo[i + 1 : i + 2]
                after = self._begin(group, rest[0], place, buffers) if rest else []
                for _, _, work in coming:
                    group.done(work)
                yield [(message, buffer) for message, buffer, _ in coming]
                coming = after
            thanks = torch.ones(1, dtype=torch.uint8, device=self._device)
            for member in sorted(set(members)):
                group.done(group.send(thanks, member, 1))

    def _begin(
        self,
        group: Group,
        messages: list[Message],
        place: Mapping[int, int],
        buffers: Buffers,
    ) -> list[tuple[Message, Tensor, Any]]:
        coming = []
        for message in messages:
            buffer = buffers.take(message_bytes(message.moves))
            coming.append((message, buffer, group.receive(buffer, place[message.source], 0)))
        return coming

    def _shared(
        self, plan: Plan, number: int, bucket: Bucket, inner: Group | None, buffers: Buffers
    ) -> Bucket:
        """The bucket, with what other leads got of it for all."""
        if inner is None:
            return bucket
        mine = [(message, buffer) for message, buffer in bucket if not message.shared]
        own = {id(message): buffer for message, buffer in bucket}
        for lead in range(self._ranks):
            for message in plan.messages(lead)[number]:
                if not message.shared:
                    continue
                buffer = own.get(id(message))
                if buffer is None:
                    buffer = buffers.take(message_bytes(message.moves))
                inner.broadcast(buffer, lead)
                mine.append((message, buffer))
        return mine

    def _checked(self, plan: Plan, bucket: Bucket) -> list[tuple[Move, Tensor]]:
        """All boxes of a bucket that this rank wants."""
        return [
            (move, tensor)
            for message, buffer in bucket
            for move, tensor in unpack(message.moves, buffer)
            if not message.shared or self._rank in plan.takers(move)
        ]


def _left_alone(followers: Sequence[_Follower], kind: Any, *_: Any) -> None:
    """Where this server fails, those that it feeds hear of it at once."""
    if kind is not None:
        for follower in followers:
            follower.give_up()


@dataclass(slots=True, kw_only=True)
class _Link:
    """The learner, as this process has found it."""

    meeting: Address
    store: Store
    held: Layout
    plans: dict[tuple[str, int], Plan]

    @classmethod
    def to(cls, meeting: Address, until: Until) -> _Link:
        require_there(meeting, until)
        store = found(meeting, until)
        held = Layout.unpacked(read(store, HELD, until))
        return cls(meeting=meeting, store=store, held=held, plans={})

    def plan(self, wanted: Layout, update: Update) -> Plan:
        """As the learner compiles it too."""
        key = (wanted.digest, update.slice)
        if key not in self.plans:
            self.plans[key] = sliced(self.held, wanted, update.slice, update.bucket_bytes)
        return self.plans[key]

    def watch(self) -> None:
        """Wait for nothing more from a learner that is gone, or has left.

        Raises:
            RuntimeError: it is.
        """
        if are_there(self.store, [LEFT], Until.within(FIND_S)):
            raise RuntimeError("the learner has left")

    def read(self, key: str, until: Until) -> bytes:
        """What a key of the learner's store holds, once it is there."""
        return read(self.store, key, until, self.watch)

    def ask(self, ask: Ask, until: Until) -> None:
        """Ask the learner.

        Raises:
            RuntimeError: it refused, and why.
        """
        self.store.queue_push(ASKS, ask.packed())
        why_not = self.read(answer_key(ask.session), until).decode()
        self.store.delete_key(answer_key(ask.session))
        if why_not:
            raise RuntimeError(f"the learner refused {ask.server}: {why_not}")


class _Follower:
    """A server that this one feeds: it is sent each bucket as it came, on a thread of its own."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._buckets: queue.Queue[Bucket | None] = queue.Queue(maxsize=1)
        self._is_lost = threading.Event()
        self._group: Group | None = None

    def hand(self, bucket: Bucket | None) -> None:
        """Give it a bucket, or the word that there is no more.

        One that does not take it for long is no longer waited for.
        """
        until = Until.within(self._patience_s)
        while not self._is_lost.is_set():
            try:
                self._buckets.put(bucket, timeout=PULSE_S)
                return
            except queue.Full:
                if until.is_over:
                    self.give_up()

    def give_up(self) -> None:
        """Have it ask the learner, at once where it is connected."""
        self._is_lost.set()
        if self._group is not None:
            self._group.abort()

    def feed(self, link: _Link, key: str, plan: Plan, device: torch.device, until: Until) -> None:
        """Send what is handed over until there is no more; runs in a thread."""
        try:
            meeting = until.sooner(self._patience_s)
            ask = Ask.unpacked(read(link.store, key, meeting))
            link.store.delete_key(key)
            if ask.plan != plan.digest:
                return  # cut in another way: the learner sends it what it needs
            store = found(ask.address, meeting)
            patience_s = self._patience_s
            with opened(store, ask.session, 0, 2, until, device, patience_s=patience_s) as group:
                self._group = group
                while not self._is_lost.is_set():
                    try:
                        bucket = self._buckets.get(timeout=PULSE_S)
                    except queue.Empty:
                        continue
                    if bucket is None:
                        thanks = torch.empty(1, dtype=torch.uint8, device=device)
                        group.done(group.receive(thanks, 1, 1))
                        return
                    for _, buffer in bucket:
                        group.done(group.send(buffer, 1, 0))
        except RuntimeError as error:
            log.warning(
                "a server that this one feeds is left to the learner: %s", first_line(error)
            )
        finally:
            self._is_lost.set()
