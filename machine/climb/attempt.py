"""The part of a climb that may have to be done again: processes up, loop, processes down."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from munro.machine.climb.cluster import Fleet, LearnerLost, start_fleet
from munro.machine.climb.cluster.roles import STEPS_LATE, Deaths, Patience, Watchdog
from munro.machine.climb.interrupt import Interrupt
from munro.machine.climb.keeping import Keeper
from munro.machine.climb.publisher import Publisher
from munro.machine.climb.restarting import Restarts
from munro.machine.climb.start import Start, resume
from munro.machine.config import RunConfig
from munro.machine.run.console import Console
from munro.machine.run.folder import RunFolder
from munro.machine.run.goodput import Span, Spans
from munro.machine.run.tracking import Trackers
from munro.rl.climb import climb
from munro.rl.control.controller import Ledger, NoSignal, OnPolicy
from munro.rl.control.in_flight import InFlight, room_of
from munro.rl.control.journal import Journal
from munro.rl.control.streaming import OffPolicy
from munro.rl.ports import LearnerDiverged
from munro.rl.state import ClimbState
from munro.rollout.store.node import PayloadLost
from munro.rollout.waits import Stalled


@dataclass(frozen=True, slots=True)
class Source:
    """Where groups come from."""

    ledger: Ledger
    groups: OnPolicy | OffPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What stays the same while a climb is taken up again and again."""

    run: RunFolder
    config: RunConfig
    console: Console
    interrupt: Interrupt
    model: Path
    """The checkpoint that the climb began from."""
    restarts: Restarts
    trackers: Trackers
    spans: Spans

    def until_done(self, start: Start) -> ClimbState:
        """Climb to the end, distilling and starting over from that wherever it is due."""
        state = start.state
        while True:
            if plan := self.restarts.due(state):
                start = self.restarts.make(plan, state)
            state = self.to_the_next_restart(start)
            if self.interrupt.requested or self.restarts.due(state) is None:
                return state

    def to_the_next_restart(self, start: Start) -> ClimbState:
        """Climb; a learner that dies goes back to its last checkpoint.

        Raises:
            LearnerLost: it died again and again without a new checkpoint in between.
        """
        deaths = Deaths(start.state.step)
        while True:
            try:
                return self.once(start, deaths)
            except LearnerLost as lost:  # before the climb was under way
                start = self._gone_back(lost, deaths)

    def _gone_back(self, lost: LearnerLost | PayloadLost, deaths: Deaths) -> Start:
        """Where the climb goes on after the learner's death.

        Raises:
            LearnerLost: it died here too often.
        """
        start = resume(self.run, self.config, unattended=True)
        deaths.another(lost, start.state.step)
        self.console.note(f"{lost}; going back to step {start.state.step}")
        self._say_unfinished(start)
        return start

    def _say_unfinished(self, start: Start) -> None:
        if start.unfinished:
            self.console.note(f"{', '.join(start.unfinished)} was not finished: it does not count")

    def once(self, start: Start, deaths: Deaths) -> ClimbState:
        """Start all processes, climb, and end them whatever happened."""
        journal = Journal(self.run.path / "journal.jsonl")
        if start.again:
            journal.resumed(start.state.step)
            self.console.note(f"going on with {self.run.path} after step {start.state.step}")
        self._say_unfinished(start)
        try:
            # before anything is started: one that will not open is to be told at once
            self.trackers.open(start.state.step + 1)
            self.console.phase("starting servers, workers and learner")
            config, model = self.restarts.climbs_with(), start.model or self.model
            with start_fleet(config, model, self.run.path) as fleet:
                for warning in fleet.warnings:
                    self.console.note(f"warning: {warning}")
                if fleet.is_found:
                    self.console.note("found the servers and workers of the process before")
                    # an update may have been under way that no server has finished yet
                    start = replace(start, state=start.state.gone_back(fleet.servers.version + 1))
                return self._through_deaths(start, journal, fleet, deaths)
        finally:
            journal.close()
            self.trackers.close()
            self.spans.mark(Span.END)

    def _through_deaths(
        self, start: Start, journal: Journal, fleet: Fleet, deaths: Deaths
    ) -> ClimbState:
        """Climb with this fleet; a learner that dies comes back, all else stays up meanwhile."""

        def dump() -> None:
            fleet.dump_stacks(self.run.path)

        watchdog = Watchdog(STEPS_LATE * self.config.deadlines.step_s, dump)
        patience = Patience(
            self.spans,
            watchdog,
            self.console.note,
            dump,
            lambda: fleet.servers.restart(self.config.deadlines.start_s),
            fleet.solvers.restart,
            is_tried_again=self.config.sync.max_staleness > 0,
            tried=fleet.servers.version,
        )
        source, lost = self._source(start.state, journal, fleet, watchdog), False
        try:
            with watchdog.watching():
                while True:
                    try:
                        if lost:
                            fleet.trainer.again(start.checkpoint)
                            self.spans.goes_on(Span.RECOVER, start.state.step, role="learner")
                        else:
                            if start.checkpoint:
                                fleet.trainer.load(start.checkpoint)
                            self.spans.goes_on(Span.START, start.state.step)
                        watchdog.stepped()
                        return self._loop(start, source, fleet, patience)
                    except (LearnerLost, PayloadLost) as error:
                        lost, start = True, self._gone_back(error, deaths)
                        start = replace(start, state=start.state.gone_back(patience.tried))
                        source = self._rewound(source, start.state, journal, fleet, watchdog)
        except Stalled:
            dump()
            raise
        finally:
            source.groups.close()

    def _source(
        self, state: ClimbState, journal: Journal, fleet: Fleet, watchdog: Watchdog
    ) -> Source:
        """Where groups come from, and the account of their tasks."""
        config = self.config
        ledger = Ledger(config, state.cursor, journal, fleet.solvers.task_id, step=state.step)
        if config.sync.max_staleness == 0:
            return Source(ledger, OnPolicy(config, ledger, fleet.solvers))

        def should_stop() -> bool:
            watchdog.check()
            return self.interrupt.requested

        groups = OffPolicy(
            config, ledger, fleet.solvers, state, should_stop, self._in_flight(fleet, state)
        )
        return Source(ledger, groups)

    def _rewound(
        self,
        source: Source,
        state: ClimbState,
        journal: Journal,
        fleet: Fleet,
        watchdog: Watchdog,
    ) -> Source:
        """The source after a checkpoint's step; off-policy, what is under way goes on."""
        self.trackers.close()
        self.trackers.open(state.step + 1)
        if isinstance(source.groups, OffPolicy):
            source.groups.gone_back(state)
            return source
        source.groups.close()
        journal.resumed(state.step)
        return self._source(state, journal, fleet, watchdog)

    def _loop(self, start: Start, source: Source, fleet: Fleet, patience: Patience) -> ClimbState:
        config, state, spans = self.config, start.state, self.spans
        publisher = Publisher(
            fleet.trainer,
            fleet.servers,
            config.sync,
            config.deadlines.sync_s,
            fleet.vocabulary,
            self.console.phase,
            self.console.note,
            longest=fleet.longest,
            adapter=config.learner.lora is not None,
        )
        keeper = Keeper(
            self.run,
            config,
            self.console,
            self.interrupt,
            fleet.trainer,
            fleet.solvers,
            fleet.solvers.metrics,
            fleet.solvers.stores,
            publisher,
            self.restarts,
            str(start.model or self.model),
            state,
            self.trackers,
            source.ledger.dropped,
            spans,
        )
        try:
            return climb(
                config,
                state,
                spans.groups(patience.groups(source.groups)),
                spans.learner(fleet.trainer),
                spans.publisher(patience.publisher(publisher)),
                keeper,
            )
        except (NoSignal, LearnerDiverged) as failure:
            if isinstance(failure, NoSignal):
                keeper.nothing_passed()
            if kept := keeper.failed(str(failure)):
                return kept
            raise

    def _in_flight(self, fleet: Fleet, state: ClimbState) -> InFlight:
        """How much may be under way; told where it is the engines' room that says so."""
        config = self.config
        if config.rollout.groups_in_flight != "auto":
            return InFlight(config)
        found = InFlight(config, room_of(config, fleet.servers.rooms(config.deadlines.sync_s)))
        self.console.note(found.told(config.length.stages[state.stage]))
        return found
