"""One climb as a process: set everything up, run the loop, leave nothing behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from envs.problem_set import ProblemSet
from machine import tracking
from machine.base import model_folder
from machine.cluster import Fleet, LearnerLost, start_fleet
from machine.config import RunConfig
from machine.console import Console, Summary
from machine.interrupt import Interrupt
from machine.keeping import Keeper
from machine.publisher import Publisher
from machine.report import write_report
from machine.run import RunFolder, Status
from machine.start import Start, begin, is_finished, refuse_changes, resume
from rl.climb import climb
from rl.controller import Ledger, OnPolicy
from rl.journal import Journal
from rl.ports import GroupSource
from rl.state import ClimbState
from rl.streaming import OffPolicy
from rollout.waits import Stalled, dump_stacks

LEARNER_RESTARTS = 5
"""Times that a climb goes back to its last checkpoint because a learner process died."""


def run_climb(config: RunConfig, *, force: bool = False) -> int:
    """Climb to `num_steps`, resuming what is there; the process's exit status.

    Raises:
        Exceptions of `machine.sentences`: told in one line; the run folder says the same.
    """
    tracking.check(config.tracking)
    run = RunFolder(Path(config.folder) / config.name)
    with run.held(), Console(_summary(config), config.num_steps) as console:
        if is_finished(run, config):
            console.note(
                f"{run.path} is finished. Look at {run.report}, or give another --name to "
                "climb again."
            )
            return 0
        refuse_changes(run, config, force=force)
        return _to_the_end(run, config, console, force=force)


def _summary(config: RunConfig) -> Summary:
    return Summary(
        run=config.name,
        model=config.model.path or "embedded base",
        env=", ".join(env.path for env in config.env),
        engine=config.rollout.engine,
        entropy_target=config.clip.entropy_target,
    )


def _to_the_end(run: RunFolder, config: RunConfig, console: Console, *, force: bool) -> int:
    with Interrupt(console.note) as interrupt:
        # what is wrong with an environment is told before anything is trained or started
        ProblemSet(config.env, config.seed).task(0)
        model = model_folder(config, console)
        start = begin(run, config, {"model": str(model)}, force=force)
        attempt = Attempt(run=run, config=config, console=console, interrupt=interrupt, model=model)
        try:
            state = attempt.until_done(start)
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt)
            run.end(Status.STOPPED if stopped else Status.FAILED, str(error) or "interrupted")
            raise
        stopped = interrupt.requested and state.step < config.num_steps
        run.end(Status.STOPPED if stopped else Status.FINISHED)
        page = write_report(run.path)
        console.note(f"{'stopped' if stopped else 'finished'} at step {state.step}: see {page}")
    return 130 if stopped else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What stays the same while a climb is taken up again and again."""

    run: RunFolder
    config: RunConfig
    console: Console
    interrupt: Interrupt
    model: Path
    """The checkpoint that the climb began from."""

    def until_done(self, start: Start) -> ClimbState:
        """Climb; a learner that dies takes the climb back to its last checkpoint, a few times."""
        for _ in range(LEARNER_RESTARTS):
            try:
                return self.once(start)
            except LearnerLost as lost:
                start = resume(self.run, self.config)
                self.console.note(f"{lost}; going back to step {start.state.step}")
        return self.once(start)

    def once(self, start: Start) -> ClimbState:
        """Start all processes, climb, and end them whatever happened."""
        journal = Journal(self.run.path / "journal.jsonl")
        if start.again:
            journal.resumed(start.state.step)
            self.console.note(f"going on with {self.run.path} after step {start.state.step}")
        self.console.phase("starting servers, workers and learner")
        try:
            with start_fleet(self.config, self.model, self.run.path) as fleet:
                try:
                    return self._loop(start, journal, fleet)
                except Stalled:
                    dump_stacks(self.run.path, fleet.pids())
                    raise
        finally:
            journal.close()

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
        )
        ledger = Ledger(config, state.cursor, journal, fleet.task_id, step=state.step)
        keeper = Keeper(
            self.run,
            config,
            self.console,
            self.interrupt,
            fleet.trainer,
            fleet.solvers,
            publisher,
            str(self.model),
            state.step + 1,
        )
        groups: GroupSource
        if config.sync.max_staleness == 0:
            groups = OnPolicy(config, ledger, fleet.solvers)
        else:
            groups = OffPolicy(config, ledger, fleet.solvers, state, keeper.should_stop)
        try:
            return climb(config, state, groups, fleet.trainer, publisher, keeper)
        finally:
            groups.close()
            keeper.close()
