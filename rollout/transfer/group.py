"""Small process groups that are made for one transfer and thrown away after it.

torch's default group is one per process and for its whole life; who joined it late, or lost a
member, could not go on. These have a store, a name and a life of their own.

The traffic is neither authenticated nor encrypted: for a private network only. Stores and gloo
listen on the interface by which the other side is reached, and on no other.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor
from torch.distributed import PrefixStore, ProcessGroup, TCPStore  # type: ignore[attr-defined]

Store = Any
"""A `TCPStore`, which torch has no types for."""

# torch's stores ask the resolver for the name of each address that connects, and wait; a question
# that is lost is to cost one second and not five
os.environ.setdefault("RES_OPTIONS", "timeout:1 attempts:5")

LISTEN = 1024
"""Connections that may wait to be accepted."""
NEVER_SENT = 1 << 20
"""A tag under which nobody sends."""
LEAST_PAUSE_S, MOST_PAUSE_S = 0.001, 0.05
"""Between two looks at a key: soon at first, and seldom where it takes long."""
WATCH_S = 1.0
"""Between two looks whether those who send are there, while something is on its way."""
FIND_S = 30.0
"""Longest wait for a store to take a connection."""
MEET_S = 30.0
"""Longest wait for all members of a group to come: each has been asked, and one that died does not
say so."""


@dataclass(frozen=True, slots=True)
class Until:
    """A point in time by which something must be done."""

    at: float

    @classmethod
    def within(cls, seconds: float) -> Until:
        """That many seconds from now."""
        return cls(time.monotonic() + seconds)

    @property
    def left(self) -> timedelta:
        """What remains, and never nothing: who asks tries once."""
        return timedelta(seconds=max(self.at - time.monotonic(), 0.001))

    @property
    def is_over(self) -> bool:
        """There is nothing left."""
        return time.monotonic() >= self.at

    def sooner(self, seconds: float) -> Until:
        """The same, but no later than that many seconds from now."""
        return Until(min(self.at, time.monotonic() + seconds))


@dataclass(frozen=True, slots=True)
class Address:
    """Where a store listens."""

    host: str
    port: int


def address_towards(host: str) -> str:
    """This machine's address on the interface by which `host` is reached."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, 1))  # sends nothing
        return str(probe.getsockname()[0])


def hosted(address: str) -> tuple[Store, Address]:
    """A store that listens on one interface, at a free port. It ends with the object."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.bind((address, 0))
    listening.listen(LISTEN)
    port = int(listening.getsockname()[1])
    within = timedelta(seconds=FIND_S)
    store = TCPStore(address, port, None, True, within, False, master_listen_fd=listening.detach())
    return store, Address(address, port)


def require_there(address: Address, until: Until) -> None:
    """A store that was there is there still: `found` tries one that is gone until time is over.

    Raises:
        RuntimeError: nobody listens there.
    """
    within_s = until.sooner(FIND_S).left.total_seconds()
    try:
        socket.create_connection((address.host, address.port), within_s).close()
    except OSError as error:
        where = f"{address.host}:{address.port}"
        raise RuntimeError(f"nobody listens at {where} any more: {error}") from error


def found(address: Address, until: Until) -> Store:
    """A connection of one's own to a store: a call that waits blocks all others of its connection.

    Raises:
        RuntimeError: nobody listens there.
    """
    within = until.sooner(FIND_S).left
    return TCPStore(address.host, address.port, None, False, within, False)


def read(store: Store, key: str, until: Until, watch: Callable[[], None] = lambda: None) -> bytes:
    """What a key holds, once it is there.

    Raises:
        RuntimeError: nobody said it in time, or the store is gone.
    """
    told(store, [key], until, watch)
    value: bytes = store.get(key)
    return value


def are_there(store: Store, keys: Sequence[str], until: Until) -> bool:
    """Whether all keys are there.

    torch gives that question no time limit, and behind a cable that was pulled nobody answers it:
    so it is put in a thread of its own. After a failure the connection is of no more use.

    Raises:
        RuntimeError: the store is gone, or does not answer.
    """
    answers: queue.Queue[bool | Exception] = queue.Queue(1)

    def ask() -> None:
        try:
            answers.put(bool(store.check(list(keys))))
        except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=until.sooner(FIND_S).left.total_seconds())
    except queue.Empty:
        raise RuntimeError("a store does not answer") from None
    if isinstance(answer, Exception):
        raise RuntimeError(str(answer)) from answer
    return answer


def told(
    store: Store, keys: Sequence[str], until: Until, watch: Callable[[], None] = lambda: None
) -> None:
    """Wait until all keys are there; what `watch` raises, which is called meanwhile, ends it.

    Raises:
        RuntimeError: they were not in time, or the store is gone.
    """
    pause_s = LEAST_PAUSE_S
    while not are_there(store, keys, until):
        if until.is_over:
            raise RuntimeError(f"nobody said {keys[0]} in time")
        watch()
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, MOST_PAUSE_S)


class Group:
    """Members that send each other tensors of bytes, until it is closed or one of them is gone.

    Each call that waits raises RuntimeError when a member has died, or `until` is over.
    """

    def __init__(
        self,
        group: ProcessGroup,
        until: Until,
        device: torch.device,
        patience_s: float | None = None,
    ) -> None:
        """
        Args:
            group: of torch.
            device: of the tensors that it sends.
            until: when all must be over.
            patience_s: longest single wait, where that is less.
        """
        self._group, self._until, self._device = group, until, device
        self._patience_s = patience_s
        self.watch: Callable[[], None] | None = None
        """Called every second of a wait; what it raises ends that. For one that nothing else would:
        where a member dies, gloo may close all connections and leave who waits on them waiting."""

    def send(self, tensor: Tensor, to: int, tag: int) -> Any:
        """Begin; `done` with what this returns, and do not change the tensor before."""
        return self._group.send([tensor], to, tag)

    def receive(self, into: Tensor, source: int, tag: int) -> Any:
        """Begin; `done` with what this returns."""
        return self._group.recv([into], source, tag)

    def broadcast(self, tensor: Tensor, root: int) -> None:
        """From one to all; all must call it."""
        options = torch.distributed.BroadcastOptions()
        options.rootRank = root
        self.done(self._group.broadcast([tensor], options))

    def meet(self) -> None:
        """Wait for all others to call this."""
        self.done(self._group.barrier())

    def done(self, work: Any) -> None:
        """Wait for what was begun."""
        patient = self._patience_s is None
        until = self._until if patient else self._until.sooner(self._patience_s or 0)
        if self.watch is None:
            _wait(work, until)
            return
        over: queue.SimpleQueue[RuntimeError | None] = queue.SimpleQueue()
        threading.Thread(target=_tell_of, args=(work, until, over), daemon=True).start()
        while True:
            try:
                why_not = over.get(timeout=WATCH_S)
            except queue.Empty:
                self.watch()
                continue
            if why_not is not None:
                raise why_not
            return

    def abort(self) -> None:
        """Have everybody who waits in it fail, here and on the other side; never waits itself.

        gloo has no call for that, but a wait whose time is over closes all of a group's
        connections: so one waits a moment for what nobody sends.
        """
        with suppress(RuntimeError):
            if self._group._get_backend(self._device).name() != "gloo":
                self._group.abort()
                return
        for step in range(1, self._group.size()):  # to one that is dead there is no wait
            with suppress(RuntimeError):
                other = (self._group.rank() + step) % self._group.size()
                nothing = self._group.recv([torch.empty(1, dtype=torch.uint8)], other, NEVER_SENT)
                nothing.wait(timedelta(milliseconds=1))


def _wait(work: Any, until: Until) -> None:
    if not work.wait(until.left):
        raise RuntimeError("a transfer was given up")


def _tell_of(work: Any, until: Until, over: queue.SimpleQueue[RuntimeError | None]) -> None:
    """In a thread that may be left behind: torch's waits can be ended by nobody."""
    try:
        _wait(work, until)
    except RuntimeError as error:
        over.put(error)
    else:
        over.put(None)


@contextmanager
def opened(
    store: Store,
    name: str,
    rank: int,
    size: int,
    until: Until,
    device: torch.device,
    *,
    patience_s: float | None = None,
    watch: Callable[[], None] = lambda: None,
) -> Iterator[Group]:
    """A group of `size` members that know the store and the name; aborted when this ends.

    All must come within `MEET_S`. With `patience_s`, no single wait is longer, nor that for all to
    come. What `watch` raises while others have not come ends the wait for them.

    Raises:
        RuntimeError: not all came in time.
    """
    come = until.sooner(MEET_S if patience_s is None else patience_s)
    # torch's own wait for all to come can be ended by nobody
    store.set(f"{name}/here/{rank}", b"1")
    told(store, [f"{name}/here/{other}" for other in range(size)], come, watch)
    store.set_timeout(come.left)
    made = _made(PrefixStore(name, store), rank, size, come.left, device)
    group = Group(made, until, device, patience_s)
    try:
        yield group
    finally:
        group.abort()


def _made(
    store: Store, rank: int, size: int, timeout: timedelta, device: torch.device
) -> ProcessGroup:
    """NCCL between GPUs, gloo between hosts: the one place that knows how torch makes a group.

    What `torch.distributed._dist2` does, which is experimental and cannot be told an interface.
    """
    group = ProcessGroup(store, rank, size)
    if device.type == "cuda":
        from torch.distributed import ProcessGroupNCCL

        nccl = ProcessGroupNCCL.Options()
        nccl._timeout = timeout
        backend: Any = ProcessGroupNCCL(store, rank, size, nccl)
        kind = ProcessGroup.BackendType.NCCL
    else:
        from torch.distributed import ProcessGroupGloo

        gloo = ProcessGroupGloo._Options()  # type: ignore[attr-defined]
        host = store.underlying_store.host
        gloo._devices = [ProcessGroupGloo.create_device(hostname=address_towards(host))]
        gloo._timeout = timeout
        backend = ProcessGroupGloo(store, rank, size, gloo)
        kind = ProcessGroup.BackendType.GLOO
    backend._set_sequence_number_for_group()
    group._set_default_backend(kind)
    group._register_backend(device, kind, backend)
    if device.type == "cuda":
        backend.eager_connect_single_device(device)
    return group
