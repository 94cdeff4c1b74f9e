"""A server's own thread: it tells the registry how the server is, and watches it.

It needs no event loop, so it still speaks when the engine holds that up. What becomes of a server
that answers nobody, `munro.rollout.fleet.watchdog` says.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Protocol
from uuid import uuid4

import psutil

from munro.rewards.errors import PolicyError
from munro.rollout.fleet.registry import LeaseClock
from munro.rollout.fleet.types import Beat, Standing
from munro.rollout.fleet.watchdog import ANSWER_S, GRACE_S, TRIAL_S, Sight, Watchdog
from munro.rollout.inference import InferenceServer

BEAT_S = 1.0
"""Between two words to the registry, where nothing happens."""
CLOSE_S = 10.0
"""Longest wait for the engine's processes to end, before this one does."""


class Line(Protocol):
    """The registry, as a server tells it; `munro.rollout.cluster.registry` has one.

    All raise `PolicyError` where nobody hears.
    """

    def join(self, token: str, had: int) -> int | None:
        """See `Registry.join`."""
        ...

    def beat(self, beat: Beat) -> bool:
        """See `Registry.beat`."""
        ...

    def leave(self, incarnation: int) -> None:
        """See `Registry.leave`."""
        ...


class Pulse:
    """Beats for one server until its process ends.

    Args:
        name: of the server.
        line: to the registry.
        layout: digest of its model's layout.
        most_gb: bound on its processes' resident memory; 0 for none.
        is_late: nobody asks it for an engine: it gets one by itself, and at once.
        end: ends the process, so that it is started again.
    """

    def __init__(
        self,
        name: str,
        line: Line,
        layout: str,
        *,
        most_gb: float,
        is_late: bool,
        end: Callable[[], None],
    ) -> None:
        self._name, self._line, self._layout, self._end = name, line, layout, end
        self._token, self._incarnation, self._number = uuid4().hex, 0, 0
        self._is_joined = False
        self._clock = LeaseClock()
        self._dog = Watchdog(most_gb=most_gb)
        self._trial: concurrent.futures.Future[Any] | None = None
        self._asked_at = -2 * TRIAL_S if is_late else 0.0
        self._retired_at: float | None = None
        self._changed = threading.Event()
        self._server: InferenceServer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def changed(self) -> None:
        """The server stands otherwise than before: say so at once."""
        self._changed.set()

    def begin(self, server: InferenceServer) -> None:
        """Beat for it from now on."""
        self._server = server
        threading.Thread(target=self._run, daemon=True, name="pulse").start()

    def lives_in(self, loop: asyncio.AbstractEventLoop) -> None:
        """Where the server's coroutines run; before this is known it is not watched."""
        self._loop = loop

    def _run(self) -> None:
        while True:
            self._changed.wait(timeout=BEAT_S)
            self._changed.clear()
            self.turn(self._clock.look(time.monotonic()))

    def turn(self, now: float) -> None:
        """Beat once, and look after the server once."""
        try:
            self._beat()
        except PolicyError:
            time.sleep(BEAT_S)  # the registry is being started again, or the run ends
        self._watch(now)

    def _beat(self) -> None:
        assert self._server is not None
        if not self._is_joined and not self._join():
            return
        told = self._server.told()
        self._number += 1
        beat = Beat(
            name=self._name,
            incarnation=self._incarnation,
            number=self._number,
            standing=told.standing,
            version=told.version,
            layout=self._layout,
            running=told.running,
            pending_tokens=told.pending_tokens,
            load=told.load,
            why=told.why,
        )
        self._is_joined = self._line.beat(beat)
        if not self._is_joined:
            self._token = uuid4().hex  # this one's lease is over
            self._changed.set()

    def _join(self) -> bool:
        incarnation = self._line.join(self._token, self._incarnation)
        if incarnation is None:
            self._token = uuid4().hex
            return False
        self._incarnation, self._is_joined = incarnation, True
        return True

    def _watch(self, now: float) -> None:
        """Look at the server, ask it for something where that is due, end it where it must be."""
        if self._loop is None or self._server is None:
            return
        sight = self._sight()
        if self._retired_at is not None:
            self._end_if_done(sight, now)
            return
        self._dog = self._dog.after(sight, now)
        if self._trial is not None:
            self._look_at_trial(sight, now)
        elif self._dog.is_due(sight, now):
            self._ask(self._server.try_itself(), now)
        elif (
            sight.standing in (Standing.STARTING, Standing.TORN) and now - self._asked_at > TRIAL_S
        ):
            self._ask(self._server.recover(), now)
        self._server.unwell = "its own request is not answered" if self._dog.misses else ""
        if self._dog.verdict:
            self._retired_at = now
            self._server.retire(self._dog.verdict)

    def _sight(self) -> Sight:
        assert self._server is not None
        told = self._server.told()
        return Sight(
            # asleep it has given its memory up, and can be asked for nothing
            standing=Standing.LOADING if told.is_asleep else told.standing,
            running=told.running,
            generated=told.load.generated if told.load is not None else None,
            kv_use=told.load.kv_use if told.load is not None else None,
            resident_gb=_resident_gb() if self._dog.most_gb else 0.0,
        )

    def _ask(self, work: Coroutine[Any, Any, Any], now: float) -> None:
        assert self._loop is not None
        self._trial, self._asked_at = asyncio.run_coroutine_threadsafe(work, self._loop), now

    def _look_at_trial(self, sight: Sight, now: float) -> None:
        """See what has come of what it was asked for."""
        assert self._trial is not None
        serves = sight.standing in (Standing.WHOLE, Standing.UNWELL)
        if not self._trial.done():
            if serves and now - self._asked_at >= ANSWER_S:
                self._trial.cancel()
                self._dog = self._dog.tried(sight, f"no token within {ANSWER_S:.0f} s", now)
                self._trial = None
            return
        failure = self._trial.exception() if not self._trial.cancelled() else None
        self._trial = None
        if failure is not None and not isinstance(failure, PolicyError):
            failure = PolicyError(f"{type(failure).__name__}: {failure}")
        if serves:
            self._dog = self._dog.tried(sight, str(failure or ""), now)

    def _end_if_done(self, sight: Sight, now: float) -> None:
        """Once nothing is under way, or will not be done: Ray starts the server again."""
        assert self._retired_at is not None
        is_hung = self._dog.misses > 0
        if sight.running and not is_hung and now - self._retired_at < GRACE_S:
            return
        assert self._loop is not None
        assert self._server is not None
        with suppress(PolicyError):
            self._line.leave(self._incarnation)
        closing = asyncio.run_coroutine_threadsafe(self._server.close(), self._loop)
        concurrent.futures.wait([closing], timeout=CLOSE_S)
        self._end()


def _resident_gb() -> float:
    """Of this process and its children."""
    me = psutil.Process()
    whole = 0
    for one in (me, *me.children(recursive=True)):
        try:
            whole += one.memory_info().rss
        except psutil.Error:
            continue  # it has just ended
    return whole / 1e9
