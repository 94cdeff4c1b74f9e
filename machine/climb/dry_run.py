"""`--dry-run`: everything that can be checked without starting anything, and what would run."""

from __future__ import annotations

import os
from pathlib import Path

from munro.base_model.checkpoint import Checkpoint
from munro.base_model.hub import locate
from munro.base_model.small.quickstart import base_folder, build_base
from munro.base_model.training.pretrain import FINISHED
from munro.envs.arithmetic import is_held_out
from munro.envs.problem_set import ProblemSet
from munro.envs.types import Task
from munro.kernels import dispatch
from munro.machine.climb.adapters import described
from munro.machine.climb.arriving import arriving
from munro.machine.climb.evaluate import require_evaluations
from munro.machine.climb.memory import (
    GB,
    require_room,
    shared_memory,
    token_budget,
    told,
    total_host,
)
from munro.machine.climb.models import foreseen, here
from munro.machine.climb.needs import gpus_wanted, shortage, transport_of
from munro.machine.climb.origin import as_climbed
from munro.machine.climb.probe import probe
from munro.machine.climb.sizes import gpus_here, grown, loaded, machine_bytes, model_of
from munro.machine.climb.start import changes, has_nothing_left, last_step, refuse_changes
from munro.machine.config import RunConfig
from munro.machine.loading import BadConfig
from munro.machine.run import tracking
from munro.machine.run.folder import RunFolder
from munro.machine.run.restarts import read_restarts
from munro.rl.config import LearnerConfig
from munro.rl.control.in_flight import InFlight, room_of
from munro.rl.plugs import check_plugs
from munro.rl.policy.optimizers import check_optimizer


def plan(config: RunConfig, *, probe_s: float = 0.0) -> str:
    """What `munro climb` would do and need, as lines for a person.

    Args:
        config: resolved.
        probe_s: climb about that long to see what a step takes; 0 starts nothing.

    Raises:
        BadAdapter: the adapter that is asked for cannot be on this model.
        BadConfig: it cannot fit on this machine, its weights cannot come by plan as asked, or the
            probe came to no figures.
        NoOptimizer: an optimizer cannot be used.
        NoSuchTwin: MUNRO_KERNELS asks for kernels that cannot run here.
        BadPlugin: a loss, an advantage or a curriculum cannot be used.
        BadEnvironment: an environment cannot be loaded or has no tasks.
        CheckpointError: the model's folder is missing, or a file in it is not whole.
        TrackingUnavailable: a tracker's extra is not installed.
    """
    tracking.check(config.tracking)
    check_plugs(config)
    check_optimizer(config.learner)
    dispatch.report()
    path, said = Path(config.folder) / config.name, []
    known = RunFolder.existing(path) if (path / "run.json").is_file() else None
    folder = here(config.model.path, revision=config.model.revision)
    config = as_climbed(config, known, lambda line: said.append(f"note      {line}"), folder)
    (problems, task), environment = grown(lambda: _asked(config))
    lines = [
        _run(config),
        f"model     {_model(config)}",
        f"tasks     {', '.join(problems.names)}: {problems.total or 'endless'} to train on",
        f"          first: {task.env}/{task.id}",
        _evaluating(config, problems),
        _sampling(config),
        _learning(config),
        *described(config),
        _distilling(config),
        _processes(config),
        *arriving(config, _folder(config), transport_of(config, on_gpu=bool(gpus_here()))),
        *_memory(config, task, environment),
        *(_probed(config, probe_s) if probe_s else []),
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
        return foreseen(config.model.path, revision=config.model.revision)
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


def _evaluating(config: RunConfig, problems: ProblemSet) -> str:
    how = config.eval
    if not how.every_steps:
        return "evaluates never"
    return (
        f"evaluates every {how.every_steps} steps, {how.num_tasks} held-out tasks of "
        f"{', '.join(problems.held_out_names)}, {how.runs} attempts each"
    )


def _learning(config: RunConfig) -> str:
    how = "on-policy, repeatable" if config.sync.max_staleness == 0 else "off-policy"
    return (
        f"learning  {config.num_steps} steps of {config.batch.num_groups} groups, {how}; weights "
        f"to the servers every {config.sync.every_steps}\n"
        f"          loss {config.learner.loss}, advantage {config.learner.advantage}, length "
        f"caps by {config.length.curriculum}" + _besides(config.learner, config.num_steps)
    )


def _besides(learner: LearnerConfig, num_steps: int) -> str:
    """What a climb does not do unless it is asked to."""
    said = []
    how = learner.schedule
    if how.warmup_steps:
        said.append(f"{how.warmup_steps} steps of warm-up")
    if how.shape != "constant":
        last = learner.learning_rate * how.final
        said.append(f"rate {how.shape} down to {last:g} at step {how.num_steps or num_steps}")
    if learner.kl_weight:
        said.append(f"KL to the model it begins from, times {learner.kl_weight:g}")
    return f"\n          {', '.join(said)}" if said else ""


def _distilling(config: RunConfig) -> str:
    how = config.distill
    when = [f"every {how.every} steps"] if how.every else []
    when += [f"on {cause.replace('_', ' ')}" for cause in how.on]
    if when and how.onto:
        foreseen(how.onto)
    onto = how.onto or "what the climb begins from"
    return f"distils   {', '.join(when)}, onto {onto}" if when else "distils   never"


def _processes(config: RunConfig) -> str:
    rollout = config.rollout
    return (
        f"processes {rollout.servers} server(s) of {rollout.engine}, {rollout.workers} problem "
        f"worker(s), {config.learner.ranks} learner rank(s) on "
        f"{config.ray.address or 'a Ray node started here'}"
    )


def _asked(config: RunConfig) -> tuple[ProblemSet, Task]:
    problems = ProblemSet(config.env, config.seed, config.eval.env)
    require_evaluations(config, problems)
    return problems, problems.task(0)


def _memory(config: RunConfig, task: Task, environment: int) -> list[str]:
    """What every process needs, and what there is; refused where it cannot fit."""
    folder, gpus = _folder(config), gpus_here()
    node = {"CPU": config.ray.cpus or os.cpu_count() or 1, "GPU": len(gpus)}
    if not config.ray.address and (lacks := shortage(config, [node], learner=True)):
        raise BadConfig(lacks)
    if folder is None:
        unknown = "the model is fetched" if config.model.path else "the embedded base is trained"
        return [f"memory    known once {unknown}"]
    needs, room = require_room(config, folder, loaded(folder, task, environment))
    memory = machine_bytes()
    published = shared_memory(config, model_of(folder, config.learner.lora), on_gpu=bool(gpus))
    lines = [f"memory    {told(needs[0])}", *(f"          {told(need)}" for need in needs[1:])]
    lines.append(
        f"          in all {total_host(needs, published) / GB:.1f} GB, weights on their way "
        f"included, of this machine's {memory / GB:.1f}; peaks, by reckoning"
    )
    if gpus or config.ray.address:
        lines.append(f"GPUs      {gpus_wanted(config)} needed, {len(gpus)} found here")
    else:
        lines.append("GPUs      none found here: all of it runs on the CPU")
    if not config.learner.token_budget:
        model = model_of(folder, config.learner.lora)
        tokens = token_budget(config, model, min(gpus, default=0))
        lines.append(f"tokens    {tokens:,} in a micro-batch (learner.token_budget = 0)")
    if room is not None:
        lines.append(
            f"room      a server holds the keys and values of {room.tokens:,} tokens: "
            f"{room.sequences} sequences of {room.longest:,} at once"
        )
        reckoned = _in_flight(config, room.tokens)
        lines += [f"          {reckoned}"] if reckoned else []
    return lines


def _in_flight(config: RunConfig, tokens: int) -> str:
    """What `rollout.groups_in_flight = "auto"` will come to, with so much room in each server."""
    if not config.sync.max_staleness or config.rollout.groups_in_flight != "auto":
        return ""
    room = room_of(config, [tokens] * config.rollout.servers)
    return InFlight(config, room).told(config.length.stages[0])


def _folder(config: RunConfig) -> Path | None:
    """Of the model's files; None for one that is not here yet."""
    if config.model.path:
        found = here(config.model.path, revision=config.model.revision)
        return found and found.absolute()
    base = base_folder(config.base, is_held_out=is_held_out, cache_dir=None) / FINISHED
    return base if Checkpoint(base).exists else None


def _fetched(config: RunConfig) -> Path:
    """Of the model's files, which are made or fetched where they are not here."""
    if config.model.path:
        return locate(config.model.path, revision=config.model.revision).folder.absolute()
    return build_base(config.base, is_held_out=is_held_out).path


def _probed(config: RunConfig, seconds: float) -> list[str]:
    seen = probe(config, _fetched(config), seconds)
    peaks = ", ".join(
        f"{kind} {size / GB:.1f} GB"
        for kind, size in sorted(seen.peaks.items(), key=lambda one: -one[1])
        if kind != "other"
    )
    hours = config.num_steps * seen.step_s / 3600
    return [
        f"probe     {seen.steps} steps: {seen.step_s:.1f} s each, {seen.rollout_tokens:,.0f} "
        f"tokens sampled and {seen.learner_tokens:,.0f} trained on; {config.num_steps} would take "
        f"{hours:.1f} h, if replies stay as long",
        f"          largest of a kind: {peaks}",
    ]
