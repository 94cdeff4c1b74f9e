"""One climb as a process: set everything up, run the loop, leave nothing behind."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from munro.base_model.training.goodput import LEDGER, NS, Ledger
from munro.machine.climb.interrupt import Interrupt
from munro.machine.climb.models import Models, in_place, settle
from munro.machine.climb.origin import as_climbed
from munro.machine.climb.start import (
    begin,
    has_nothing_left,
    is_finished,
    raw,
    recorded,
    refuse_changes,
)
from munro.machine.config import RunConfig
from munro.machine.run import tracking
from munro.machine.run.console import Console, Summary
from munro.machine.run.folder import RunFolder, Status
from munro.machine.sentences import in_one_line

if TYPE_CHECKING:
    from munro.machine.run.goodput import Spans


def run_climb(config: RunConfig, *, force: bool = False, unattended: bool = False) -> int:
    """Climb to `num_steps`, resuming what is there; the process's exit status.

    Args:
        config: resolved.
        force: see `munro.machine.climb.start.begin`.
        unattended: likewise.

    Raises:
        Exceptions of `munro.machine.sentences`: told in one line; the run folder says the same.
    """
    tracking.check(config.tracking)
    run = RunFolder(Path(config.folder) / config.name)
    said: list[str] = []
    # a new run takes its template from its model; one that goes on has it, and may be finished
    models = settle(config) if run.read_config() is None else None
    config = as_climbed(config, run, said.append, models.policy if models else None)
    with run.held(), Console(summary_of(config, config.name), config.num_steps) as console:
        for line in said:
            console.note(line)
        if is_finished(run, config):
            console.note(
                f"{run.path} is finished. Look at {run.report}, or give another --name to "
                "climb again."
            )
            return 0
        refuse_changes(run, config, force=force)
        if has_nothing_left(run, config):
            console.note(
                f"{run.path} is finished, and num_steps = {config.num_steps} leaves it nothing to "
                "do: raise num_steps to climb on, or give another --name."
            )
            return 0
        models = models or settle(config, recorded(run))
        return _to_the_end(run, config, models, console, force=force, unattended=unattended)


def summary_of(config: RunConfig, name: str) -> Summary:
    """The head of what a person watches."""
    return Summary(
        run=name,
        model=config.model.path or "embedded base",
        env=", ".join(env.path for env in config.env),
        engine=config.rollout.engine,
        entropy_target=config.clip.entropy_target,
    )


def _to_the_end(
    run: RunFolder,
    config: RunConfig,
    models: Models,
    console: Console,
    *,
    force: bool,
    unattended: bool,
) -> int:
    # torch and Ray take seconds to import: a run that is finished is told so without them
    from munro.envs.problem_set import ProblemSet
    from munro.kernels import dispatch
    from munro.machine.climb.attempt import Attempt
    from munro.machine.climb.base import model_folder
    from munro.machine.climb.evaluate import require_evaluations
    from munro.machine.climb.memory import require_room
    from munro.machine.climb.restarting import Restarts
    from munro.machine.climb.sizes import loaded
    from munro.machine.report.report import write_report
    from munro.rl.plugs import check_plugs
    from munro.rl.policy.optimizers import check_optimizer

    with Interrupt(console.note) as interrupt:
        # what is wrong with what is plugged in is told before anything is trained or started
        check_plugs(config)
        check_optimizer(config.learner)
        dispatch.report()
        for line in models.told:
            console.note(line)
        loads = in_place(config, models)
        problems = ProblemSet(loads.env, config.seed, loads.eval.env)
        task = problems.task(0)
        require_evaluations(config, problems)
        model = model_folder(loads, console)
        require_room(loads, model, loaded(model, task), rough=True)
        provenance = {"model": str(model), **models.provenance}
        start = begin(run, config, provenance, force=force, unattended=unattended)
        attempt = Attempt(
            run=run,
            config=config,
            console=console,
            interrupt=interrupt,
            model=model,
            restarts=Restarts(run, loads, console, interrupt, model),
            spans=_spans(run),
            trackers=tracking.Trackers(
                config.tracking, run.path, config=raw(config), warn=console.note
            ),
        )
        try:
            state = attempt.until_done(start)
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt)
            run.end(
                Status.STOPPED if stopped else Status.FAILED,
                "interrupted" if stopped else in_one_line(error),
            )
            raise
        stopped = interrupt.requested and state.step < config.num_steps
        run.end(Status.STOPPED if stopped else Status.FINISHED)
        page = write_report(run.path)
        console.note(f"{'stopped' if stopped else 'finished'} at step {state.step}: see {page}")
    return 130 if stopped else 0


def _spans(run: RunFolder) -> Spans:
    """The run's ledger of time, which goes on from when this process came to be."""
    from munro.machine.run.goodput import Spans

    ledger = Ledger(run.path / LEDGER)
    ledger.begin(int(psutil.Process().create_time() * NS))
    return Spans(ledger)
