"""Half a climb at a time: sampling without the learner, and the learner without sampling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import click

from munro.machine.climb.base import model_folder
from munro.machine.climb.cluster import start_fleet
from munro.machine.climb.models import in_place, settle
from munro.machine.climb.origin import as_climbed
from munro.machine.climb.process import summary_of
from munro.machine.climb.start import Start, raw, restarted, saved_start
from munro.machine.config import RunConfig
from munro.machine.loading import check
from munro.machine.run import token_figures
from munro.machine.run.beside import Beside
from munro.machine.run.console import Console
from munro.machine.run.files import RunError
from munro.machine.run.folder import RunFolder, Status
from munro.machine.run.metrics import is_timing
from munro.machine.run.restarts import read_restarts
from munro.rl.batch import build_batch, sequence_of
from munro.rl.control.controller import Ledger, NoSignal, OnPolicy
from munro.rl.control.journal import Journal
from munro.rl.group_metrics import group_metrics
from munro.rl.learner import Learner
from munro.rl.plugs import Advantage, advantage_of
from munro.rl.state import ClimbState
from munro.rollout.store.store import RolloutStore
from munro.rollout.telling import told
from munro.rollout.types import Group, places_of

COMPARED = ("learner/", "policy/", "clip/", "ratio/", "reward/", "response/")


def run_rollout(config: RunConfig, steps: int) -> int:
    """Sample and grade `steps` steps' worth of groups into the run folder NAME-rollout."""
    run = RunFolder(Path(config.folder) / f"{config.name}-rollout")
    said: list[str] = []
    models = settle(config)
    config = as_climbed(config, None, said.append, models.policy)
    with run.held(), Console(summary_of(config, run.name), steps) as console:
        for line in said:
            console.note(line)
        if run.read_info() is not None:
            raise RunError(f"{run.path} is there already: give another --name.")
        loads = in_place(config, models)
        model = model_folder(loads, console)
        provenance = {"model": str(model), **models.provenance}
        run.begin(raw(config), seed=config.seed, provenance=provenance)
        journal = Journal(run.path / "journal.jsonl")
        state = ClimbState.first(config.clip)
        console.phase("starting servers and workers")
        with start_fleet(loads, model, run.path, learner=False) as fleet:
            ledger = Ledger(config, state.cursor, journal, fleet.solvers.task_id, step=0)
            stores, rollouts = fleet.solvers.stores, str(run.rollouts.absolute())
            beside = Beside(run, config, stores)
            source = OnPolicy(config, ledger, fleet.solvers)
            for step in range(1, steps + 1):
                console.phase("sampling")
                try:
                    groups = source.take(config.batch.num_groups, state)
                except NoSignal:
                    beside.nothing_passed(step, ledger.dropped(), console.note)
                    raise
                beside.dropped(step, ledger.dropped())
                worth = [group.worth.advantages for group in groups if group.worth]
                stores.draft(rollouts, step, places_of(groups), worth)
                stores.commit(rollouts, step)
                metrics = group_metrics(groups, state, several=config.has_several)
                metrics |= source.metrics()
                run.metrics.append(step, metrics)
                console.step(step, metrics)
                source.settle(groups, step)
        journal.close()
        run.end(Status.FINISHED)
        console.note(f"sampled {steps} steps into {run.rollouts}")
    return 0


def run_replay(path: str, step: int, *, tokens: bool = False) -> int:
    """Take a stored step again with the learner alone, and compare; exit status 1 if it differs.

    Args:
        path: of the run.
        step: optimizer step.
        tokens: keep what the learner says of every token, for `munro watch`.
    """
    run = RunFolder.existing(path)
    config = check(run.read_config() or {}, source=str(run.config_file))
    then = {row["step"]: row for row in run.metrics.read()}.get(step)
    if then is None:
        raise RunError(f"{run.path} has no step {step} in its metrics.")
    now = _again(run, config, step, tokens=tokens)
    names = [n for n in now if n.startswith(COMPARED) and n in then and not is_timing(n)]
    different = [name for name in names if now[name] != then[name]]
    for name in names:
        mark = "differs" if name in different else "same"
        click.echo(f"{name:<24} {then[name]:<24.17g} {now[name]:<24.17g} {mark}")
    click.echo(f"step {step}: {len(names) - len(different)} of {len(names)} figures are the same")
    return 1 if different else 0


def _again(run: RunFolder, config: RunConfig, step: int, *, tokens: bool) -> Mapping[str, float]:
    """Metrics of `step`, from the nearest checkpoint before it over the stored steps between."""
    start = _before(run, config, step)
    assert start.checkpoint is not None
    # a climb that went on from a distillation, or began, had a new optimizer
    learner = Learner(
        str(start.checkpoint),
        config.learner,
        seed=config.seed,
        temperature=config.rollout.temperature,
        entropy_estimator=config.clip.entropy_estimator,
    )
    if start.model is None and start.state.step:
        learner.load(start.checkpoint)
    state, store = start.state, RolloutStore(run.rollouts)
    advantage = advantage_of(config.learner)
    metrics: Mapping[str, float] = {}
    while state.step < step:
        groups = store.read(state.step + 1)
        batch = build_batch(groups, advantage)
        if tokens and state.step + 1 == step:
            _keep_tokens(run, learner, state, groups, advantage)
        report = learner.step(batch, clip=state.clip)
        outcomes = [told(group, None) for group in groups]
        metrics = group_metrics(outcomes, state) | dict(report.metrics)
        state = state.after(
            entropy=report.entropy,
            truncated=metrics["response/truncated"],
            cursor=state.cursor,
            clip=config.clip,
            length=config.length,
            watch=state.watch.after(metrics, config.collapse),
        )
        if state.step % config.sync.every_steps == 0:
            state = state.with_new_policy()
    return metrics


def _keep_tokens(
    run: RunFolder,
    learner: Learner,
    state: ClimbState,
    groups: Sequence[Group],
    advantage: Advantage,
) -> None:
    """Write down what the learner says of every token that it is about to be trained on."""
    places, sequences = [], []
    for group in groups:
        for number, (attempt, worth) in enumerate(
            zip(group.attempts, advantage(group), strict=True)
        ):
            places.append((group.index, number))
            sequences.append(sequence_of(attempt.trajectory, worth, group.task.id))
    told = zip(places, learner.token_logp(sequences), strict=True)
    rows = [(*place, logp) for place, logp in told if logp is not None]
    file = token_figures.write(run.path, state.step + 1, rows, state.clip)
    click.echo(f"{len(rows)} of {len(places)} attempts, token by token: {file}")


def _before(run: RunFolder, config: RunConfig, step: int) -> Start:
    earlier = [saved for saved in run.list_checkpoints() if saved[0] < step]
    made = [restart for restart in read_restarts(run) if restart.step < step]
    if made and (not earlier or earlier[-1][0] <= made[-1].step):
        start = restarted(run, made[-1])
        return replace(start, checkpoint=start.model)
    if earlier:
        return saved_start(earlier[-1][1])
    info = run.read_info()
    began_from = info.provenance["model"] if info else ""
    return Start(state=ClimbState.first(config.clip), checkpoint=Path(began_from), again=False)
