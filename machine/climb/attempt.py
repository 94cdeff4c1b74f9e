"""The part of a climb that may have to be done again: processes up, loop, processes down."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from munro.machine.climb.cluster import Fleet, LearnerLost, start_fleet
from munro.machine.climb.interrupt import Interrupt
from munro.machine.climb.keeping import Keeper
from munro.machine.climb.publisher import Publisher
from munro.machine.climb.restarting import Restarts
from munro.machine.climb.start import Start, resume
from munro.machine.config import RunConfig
from munro.machine.run.console import Console
from munro.machine.run.folder import RunFolder
from munro.machine.run.tracking import Trackers
from munro.rl.climb import climb
from munro.rl.control.controller import Ledger, NoSignal, OnPolicy
from munro.rl.control.in_flight import InFlight, room_of
from munro.rl.control.journal import Journal
from munro.rl.control.streaming import OffPolicy
from munro.rl.ports import GroupSource, LearnerDiverged
from munro.rl.state import ClimbState
from munro.rollout.waits import Stalled, dump_stacks

LEARNER_RESTARTS = 5
"""Times that a climb goes back to the same checkpoint because a learner process died."""


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
        """Climb; a learner that dies takes the climb back to its last checkpoint.

        Raises:
            LearnerLost: it died again and again without a new checkpoint in between.
        """
        deaths = 0
        while True:
            try:
                return self.once(start)
            except LearnerLost as lost:
                went_back_to = start.state.step
                start = resume(self.run, self.config, unattended=True)
                deaths = 1 if start.state.step > went_back_to else deaths + 1
                if deaths > LEARNER_RESTARTS:
                    raise LearnerLost(
                        f"{lost}; it died {deaths} times without getting from step "
                        f"{start.state.step} to another checkpoint"
                    ) from lost
                self.console.note(f"{lost}; going back to step {start.state.step}")

    def once(self, start: Start) -> ClimbState:
        """Start all processes, climb, and end them whatever happened."""
        journal = Journal(self.run.path / "journal.jsonl")
        if start.again:
            journal.resumed(start.state.step)
            self.console.note(f"going on with {self.run.path} after step {start.state.step}")
        try:
            # before anything is started: one that will not open is to be told at once
            self.trackers.open(start.state.step + 1)
            self.console.phase("starting servers, workers and learner")
            config, model = self.restarts.climbs_with(), start.model or self.model
            with start_fleet(config, model, self.run.path) as fleet:
                for warning in fleet.warnings:
                    self.console.note(f"warning: {warning}")
                try:
                    return self._loop(start, journal, fleet)
                except Stalled:
                    dump_stacks(self.run.path, fleet.pids())
                    raise
        finally:
            journal.close()
            self.trackers.close()

    def _loop(self, start: Start, journal: Journal, fleet: Fleet) -> ClimbState:
        config, state = self.config, start.state
        if start.checkpoint:
            fleet.trainer.load(start.checkpoint)
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
        ledger = Ledger(config, state.cursor, journal, fleet.solvers.task_id, step=state.step)
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
            ledger.dropped,
        )
        groups: GroupSource
        if config.sync.max_staleness == 0:
            groups = OnPolicy(config, ledger, fleet.solvers)
        else:
            groups = OffPolicy(
                config,
                ledger,
                fleet.solvers,
                state,
                keeper.should_stop,
                self._in_flight(fleet, state),
            )
        try:
            return climb(config, state, groups, fleet.trainer, publisher, keeper)
        except (NoSignal, LearnerDiverged) as failure:
            if isinstance(failure, NoSignal):
                keeper.nothing_passed()
            if kept := keeper.failed(str(failure)):
                return kept
            raise
        finally:
            groups.close()

    def _in_flight(self, fleet: Fleet, state: ClimbState) -> InFlight:
        """How much may be under way; told where it is the engines' room that says so."""
        config = self.config
        if config.rollout.groups_in_flight != "auto":
            return InFlight(config)
        found = InFlight(config, room_of(config, fleet.servers.rooms(config.deadlines.sync_s)))
        self.console.note(found.told(config.length.stages[state.stage]))
        return found
