"""How many boxes are open at once on a node, and how fast they are opened.

    attempt ──► a place among its worker's own ──► a slot of the node's ──► its turn to start

A box is whatever an episode holds that its node has few of: a sandbox, say, or a server. An
environment says how many may be open (`Budget.boxes`); the rest wait, and an attempt that waits is
no party of a lockstep. A slot is a locked file, so all workers of a run on one node share them, and
whoever dies gives its own back.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import random
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

import psutil

from munro.envs.base import BOX_MB
from munro.rewards.errors import EnvironmentFailure
from munro.rollout.waits import Stalled, waiting

BOXES_A_CORE = 16
"""Most of them wait for the policy at any moment."""
STARTING_A_CORE = 4
LOOK_S = 0.2
"""Between two looks for a slot that another process may have given back."""
MOST_WAIT_S = 86_400.0
"""For a box; as long as others hold all of them there is nothing wrong with waiting."""

Away = Callable[[], AbstractContextManager[None]]
"""While it is open, nobody waits for the attempt; see `munro.rollout.lockstep.Together.away`."""


def most_here(box_mb: int = BOX_MB) -> int:
    """Boxes that this node's processors allow, and half of its memory.

    Args:
        box_mb: MiB of one.
    """
    memory: int = min([psutil.virtual_memory().total, *_granted("memory.max")])
    return max(1, min(BOXES_A_CORE * _cores(), memory // 2 // (box_mb << 20)))


def pool_of(run: str) -> Path:
    """Where the slots of a run lie on this node: not in the run's folder, which nodes may share."""
    known = hashlib.sha256(str(Path(run).absolute()).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"munro-boxes-{os.getuid()}" / known


class Boxes:
    """The boxes of one worker's environments.

    Args:
        folder: of the node's slots; without, the worker has the node to itself.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._pools: dict[str, _Pool] = {}
        self._ramp = _Ramp(STARTING_A_CORE * _cores())

    @contextlib.asynccontextmanager
    async def one(
        self,
        name: str,
        most: int | Literal["auto"],
        away: Away,
        box_mb: int = BOX_MB,
    ) -> AsyncIterator[None]:
        """A place for one box, given back at the end.

        Args:
            name: of the environment.
            most: boxes that it may have open on this node; what it says first holds.
            away: entered while the attempt waits.
            box_mb: MiB that one may need, where the node says how many.

        Raises:
            EnvironmentFailure: there is no place to be had.
        """
        pool = self._pools.get(name)
        if pool is None:
            folder = self._folder and self._folder / hashlib.sha256(name.encode()).hexdigest()[:16]
            pool = _Pool(name, folder, most_here(box_mb) if most == "auto" else most)
            self._pools[name] = pool
        slot = await pool.take(away)
        try:
            yield
        finally:
            pool.give_back(slot)

    @contextlib.asynccontextmanager
    async def starting(self) -> AsyncIterator[None]:
        """Held while a box starts: one at a time at first, then twice as many after each that did.

        One that fails makes it one at a time again.
        """
        await self._ramp.enter()
        went_well = False
        try:
            yield
            went_well = True
        finally:
            self._ramp.leave(went_well)


class _Pool:
    """The places of one environment."""

    def __init__(self, name: str, folder: Path | None, most: int) -> None:
        self._name, self._folder, self._most = name, folder, most
        self._free = asyncio.Semaphore(most)
        self._held: set[int] = set()

    async def take(self, away: Away) -> tuple[int, int]:
        """A slot's number and its file, once one is free."""
        # without a moment's wait where there is a place: who waits is no party meanwhile
        if self._free.locked():
            with away():
                async with self._wait():
                    await self._free.acquire()
        else:
            await self._free.acquire()
        try:
            slot = self._slot()
            if slot is None:
                with away():
                    async with self._wait():
                        while (slot := self._slot()) is None:
                            await asyncio.sleep(LOOK_S * (0.5 + random.random()))
        except BaseException:
            self._free.release()
            raise
        return slot

    def give_back(self, slot: tuple[int, int]) -> None:
        """Somebody else may have it."""
        number, file = slot
        self._held.discard(number)
        if file >= 0:
            # unlocked by name: a process that was forked meanwhile may hold the file too
            fcntl.flock(file, fcntl.LOCK_UN)
            os.close(file)
        self._free.release()

    @contextlib.asynccontextmanager
    async def _wait(self) -> AsyncIterator[None]:
        try:
            async with waiting(f"one of {self._most} boxes of {self._name}", MOST_WAIT_S):
                yield
        except Stalled as stalled:
            raise EnvironmentFailure(str(stalled)) from stalled

    def _slot(self) -> tuple[int, int] | None:
        """One that is free on the node; None where all are taken."""
        free = (number for number in range(self._most) if number not in self._held)
        if self._folder is None:
            number = next(free)
            self._held.add(number)
            return number, -1
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for number in free:
                file = os.open(self._folder / str(number), os.O_RDWR | os.O_CREAT, 0o600)
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    os.close(file)
                    continue
                self._held.add(number)
                return number, file
        except OSError as error:
            raise EnvironmentFailure(
                f"the slots for boxes of {self._name} in {self._folder} cannot be used: {error}"
            ) from error
        return None


class _Ramp:
    """How many may be starting at once."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._width, self._inside = 1, 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> None:
        if self._inside < self._width and not self._waiting:
            self._inside += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it had come, and nobody takes it
                self._inside -= 1
                self._let_in()
            raise

    def leave(self, went_well: bool) -> None:
        self._inside -= 1
        self._width = min(2 * self._width, self._most) if went_well else 1
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting and self._inside < self._width:
            turn = self._waiting.popleft()
            if not turn.done():
                self._inside += 1
                turn.set_result(None)


def _cores() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return cores or 1


def _granted(name: str) -> list[int]:
    """What the container may take, of a kind; nothing where nobody says."""
    with contextlib.suppress(OSError, ValueError):
        return [int((Path("/sys/fs/cgroup") / name).read_text())]
    return []
