"""Off-policy: groups stream in while the learner learns.

pump (a thread)   takes   tasks from the ledger            waits: while enough groups are ahead
                  makes   groups into the buffer           waits: for the problem workers
take (the loop)   takes   groups from the buffer           waits: until enough are fresh
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from munro.rl.config import ClimbConfig
from munro.rl.control.controller import Ledger
from munro.rl.control.in_flight import InFlight
from munro.rl.ports import Solvers
from munro.rl.state import ClimbState, Cursor
from munro.rollout.types import Outcome
from munro.rollout.waits import Stalled


class OffPolicy:
    """Keeps problem workers busy ahead of the learner, within the staleness bound."""

    def __init__(
        self,
        config: ClimbConfig,
        ledger: Ledger,
        solvers: Solvers,
        state: ClimbState,
        should_stop: Callable[[], bool],
        in_flight: InFlight | None = None,
    ) -> None:
        self._config, self._ledger, self._solvers = config, ledger, solvers
        self._should_stop = should_stop
        self._in_flight = in_flight or InFlight(config)
        self._state = state
        self._buffer: list[Outcome] = []
        self._taken: list[Outcome] = []
        self._failure: BaseException | None = None
        self._closed = False
        self._changed = threading.Condition()
        self._thread = self._pumping()

    def _pumping(self) -> threading.Thread:
        thread = threading.Thread(target=self._pump, name="pump", daemon=True)
        thread.start()
        return thread

    @property
    def _room(self) -> int:
        """Tasks that may be handed out now: a slow learner slows sampling, not ages its groups."""
        batch, most = self._config.batch, self._most
        sampling = self._ledger.num_out - len(self._buffer) - len(self._taken)
        return max(min(most - sampling, most + batch.num_groups - sampling - len(self._buffer)), 0)

    @property
    def _most(self) -> int:
        return self._in_flight.most(self._config.length.stages[self._state.stage])

    def _pump(self) -> None:
        try:
            while not self._closed:
                with self._changed:
                    tasks = self._ledger.hand_out(self._room, self._state)
                if tasks:
                    self._solvers.assign(tasks)
                outcomes = self._solvers.next_outcomes(timeout_s=0.2)
                with self._changed:
                    for outcome in outcomes:
                        self._in_flight.seen(outcome)
                    self._buffer += self._ledger.take_in(outcomes)
                    self._changed.notify_all()
        except BaseException as failure:  # noqa: BLE001 - handed to the loop, which raises it
            with self._changed:
                self._failure = failure
                self._changed.notify_all()

    def take(self, num_groups: int, state: ClimbState) -> Sequence[Outcome]:
        """Block until `num_groups` fresh groups are there, oldest task first.

        Fewer, once `batch.patience` tasks per wanted group were abandoned meanwhile.

        Raises:
            NoSignal: that many were abandoned, and no group is there.
            Stalled: no task came back within `deadlines.groups_s`.
        """
        self._pump_again()
        with self._changed:
            self._state = state
            before, most = self._ledger.num_abandoned, num_groups * self._config.batch.patience
            while not self._closed:
                self._raise_failure()
                self._drop_stale(state)
                if len(self._buffer) >= num_groups:
                    self._drop_lost(num_groups)
                done = self._ledger.is_exhausted and self._ledger.num_out == len(self._buffer)
                if len(self._buffer) >= num_groups or done or self._should_stop():
                    break
                abandoned = self._ledger.num_abandoned - before
                if abandoned >= most and not self._buffer:
                    raise self._ledger.no_signal(abandoned, state.step)
                if abandoned >= most:
                    break
                self._wait_for_change()
            taken, self._buffer = self._buffer[:num_groups], self._buffer[num_groups:]
            self._taken = taken
            return sorted(taken, key=lambda group: group.index)

    def _drop_lost(self, num_groups: int) -> None:
        """Groups that went with their node are sampled again, and not trained on."""
        lost = self._solvers.lost(self._buffer[:num_groups])
        if lost:
            gone = {group.index for group in lost}
            self._buffer = [group for group in self._buffer if group.index not in gone]
            self._ledger.lost(lost)

    def _wait_for_change(self) -> None:
        before, limit_s = self._num_back, self._config.deadlines.groups_s
        began = time.monotonic()
        while (waited := time.monotonic() - began) < limit_s:
            self._changed.wait(timeout=min(0.5, limit_s - waited))
            if self._num_back != before or self._failure or self._should_stop():
                return
        raise Stalled("controller", f"the next of {self._ledger.num_out} groups in flight", waited)

    @property
    def _num_back(self) -> tuple[int, int]:
        return len(self._buffer), self._ledger.num_abandoned

    def _raise_failure(self) -> None:
        if self._failure:
            raise self._failure

    def _pump_again(self) -> None:
        """After a stall, which lost nothing: whoever takes again has mended it."""
        if isinstance(self._failure, Stalled):
            self._thread.join()
            self._failure, self._thread = None, self._pumping()

    def _drop_stale(self, state: ClimbState) -> None:
        most = self._config.sync.max_staleness
        stale = [group for group in self._buffer if state.age(group.oldest_version) > most]
        if stale:
            self._buffer = [g for g in self._buffer if state.age(g.oldest_version) <= most]
            self._ledger.too_old(stale)
            self._solvers.forget(stale)

    def settle(self, groups: Sequence[Outcome], step: int) -> Cursor:
        """See `munro.rl.ports.GroupSource`."""
        with self._changed:
            self._taken = []
            return self._ledger.settle(groups, step)

    def gone_back(self, state: ClimbState) -> None:
        """Go on after a checkpoint's step: what is under way, or back and not trained on, stays."""
        with self._changed:
            self._buffer, self._taken = [*self._taken, *self._buffer], []
            self._state = state
            self._ledger.gone_back(state)
            self._changed.notify_all()

    def metrics(self) -> dict[str, float]:
        """Figures since the last call."""
        with self._changed:
            found = self._ledger.metrics() | {"groups/buffered": len(self._buffer)}
            return found | (
                {"groups/in_flight_most": self._most} if self._in_flight.is_auto else {}
            )

    def close(self) -> None:
        """Stop handing out; the thread ends within its poll."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout=10)
