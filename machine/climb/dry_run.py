"""`--dry-run`: everything that can be checked without starting anything, and what would run."""

from __future__ import annotations

from pathlib import Path

from munro.base_model.checkpoint import Checkpoint
from munro.base_model.small.quickstart import base_folder
from munro.base_model.training.pretrain import FINISHED
from munro.envs.arithmetic import is_held_out
from munro.envs.problem_set import ProblemSet
from munro.machine.climb.adapters import described
from munro.machine.climb.origin import as_climbed
from munro.machine.climb.start import changes, has_nothing_left, last_step, refuse_changes
from munro.machine.config import RunConfig
from munro.machine.run import tracking
from munro.machine.run.folder import RunFolder
from munro.machine.run.restarts import read_restarts
from munro.rl.plugs import check_plugs


def plan(config: RunConfig) -> str:
    """What `munro climb` would do, as lines for a person.

    Raises:
        BadAdapter: the adapter that is asked for cannot be on this model.
        BadPlugin: a loss, an advantage or a curriculum cannot be used.
        BadEnvironment: an environment cannot be loaded or has no tasks.
        CheckpointError: the model's folder is missing, or a file in it is not whole.
        TrackingUnavailable: a tracker's extra is not installed.
    """
    tracking.check(config.tracking)
    check_plugs(config)
    path, said = Path(config.folder) / config.name, []
    known = RunFolder.existing(path) if (path / "run.json").is_file() else None
    config = as_climbed(config, known, lambda line: said.append(f"note      {line}"))
    problems = ProblemSet(config.env, config.seed)
    task = problems.task(0)
    lines = [
        _run(config),
        f"model     {_model(config)}",
        f"tasks     {', '.join(problems.names)}: {problems.total or 'endless'} to train on",
        f"          first: {task.env}/{task.id}",
        _sampling(config),
        _learning(config),
        *described(config),
        _distilling(config),
        _processes(config),
        *said,
    ]
    return "\n".join(lines)


def _run(config: RunConfig) -> str:
    path = Path(config.folder) / config.name
    if not (path / "run.json").is_file():
        return f"run       {path}, a new one"
    run = RunFolder.existing(path)
    refuse_changes(run, config, force=True)
    found = changes(run, config)
    if has_nothing_left(run, config):
        said = f"run       {path}, finished: nothing would run"
    else:
        said = f"run       {path}, {_from_where(run)}"
    return said + (f"; needs --force, for its config changed: {'; '.join(found)}" if found else "")


def _from_where(run: RunFolder) -> str:
    newest = run.newest_checkpoint()
    if newest is not None:
        return f"resumed after step {newest[0]}"
    if read_restarts(run):
        return "resumed from its last distillation"
    steps = last_step(run)
    if steps:
        return f"begun anew, and only with --force: no checkpoint is left of its {steps} steps"
    return "begun anew, for it took no step"


def _model(config: RunConfig) -> str:
    if config.model.path:
        return str(Checkpoint(Path(config.model.path).expanduser()).prove().path)
    folder = base_folder(config.base, is_held_out=is_held_out, cache_dir=None)
    if Checkpoint(folder / FINISHED).exists:
        return f"the embedded base, from {folder}"
    return f"the embedded base, to be trained in {config.base.training.num_steps} steps at {folder}"


def _sampling(config: RunConfig) -> str:
    rollout = config.rollout
    return (
        f"sampling  {rollout.num_early} attempts, gate {list(rollout.early_pass_rate)}, then "
        f"{rollout.group_size} in all, gate {list(rollout.pass_rate)}; at most "
        f"{config.length.stages[0]} tokens each"
    )


def _learning(config: RunConfig) -> str:
    how = "on-policy, repeatable" if config.sync.max_staleness == 0 else "off-policy"
    return (
        f"learning  {config.num_steps} steps of {config.batch.num_groups} groups, {how}; weights "
        f"to the servers every {config.sync.every_steps}\n"
        f"          loss {config.learner.loss}, advantage {config.learner.advantage}, length "
        f"caps by {config.length.curriculum}"
    )


def _distilling(config: RunConfig) -> str:
    how = config.distill
    when = [f"every {how.every} steps"] if how.every else []
    when += [f"on {cause.replace('_', ' ')}" for cause in how.on]
    if when and how.onto:
        Checkpoint(Path(how.onto).expanduser()).prove()
    onto = how.onto or "what the climb begins from"
    return f"distils   {', '.join(when)}, onto {onto}" if when else "distils   never"


def _processes(config: RunConfig) -> str:
    rollout = config.rollout
    return (
        f"processes {rollout.servers} server(s) of {rollout.engine}, {rollout.workers} problem "
        f"worker(s), {config.learner.ranks} learner rank(s) on "
        f"{config.ray.address or 'a Ray node started here'}"
    )
