"""From a run folder to the state that a climb begins or goes on with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from munro.base_model.checkpoint import Checkpoint
from munro.base_model.hub import split
from munro.machine.config import RunConfig
from munro.machine.loading import BadConfig
from munro.machine.run.folder import RunFolder, RunInfo, Status, difference
from munro.machine.run.restarts import Restart, read_restarts
from munro.rl.control.journal import audit
from munro.rl.state import ClimbState


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where a climb begins."""

    state: ClimbState
    checkpoint: Path | None
    """Folder that holds weights and optimizer of `state`; None before the first step."""
    again: bool
    """The run was under way before."""
    model: Path | None = None
    """Distilled checkpoint that the climb last restarted from; None where it never did."""
    unfinished: tuple[str, ...] = ()
    """Checkpoints that were not written to their end, and do not exist."""


def is_finished(run: RunFolder, config: RunConfig) -> bool:
    """Whether the same config was climbed to its end here already."""
    info = run.read_info()
    return info is not None and info.status is Status.FINISHED and not changes(run, config)


def has_nothing_left(run: RunFolder, config: RunConfig) -> bool:
    """Whether a climb that reached its end would take no further step with `config` either."""
    info, newest = run.read_info(), run.newest_checkpoint()
    is_over = info is not None and info.status is Status.FINISHED
    return is_over and newest is not None and newest[0] >= config.num_steps


def last_step(run: RunFolder) -> int:
    """The last optimizer step that anything in the run's folder speaks of; 0 where none does."""
    info, journal = run.read_info(), run.path / "journal.jsonl"
    steps = [int(row["step"]) for row in run.metrics.read()]
    steps += audit(journal).trained.values() if journal.exists() else []
    return max([*steps, info.saved if info else 0])


def changes(run: RunFolder, config: RunConfig) -> list[str]:
    """What differs between `config` and the one the run was started with.

    A scheduler gives a job that it starts again other nodes: where the cluster is, is no change.
    """
    before = run.read_config()
    if before is None:
        return []
    found = difference(_completed(before), raw(config))
    return [line for line in found if not line.startswith("ray.address:")]


def _completed(before: Mapping[str, Any]) -> Mapping[str, Any]:
    """A run's config with the keys that came into being since, which it had at their defaults."""
    try:
        return raw(RunConfig.model_validate(before))
    except ValidationError:
        return before


def raw(config: RunConfig) -> dict[str, Any]:
    """The config as plain data."""
    return config.model_dump(mode="json")


def recorded(run: RunFolder) -> Mapping[str, str]:
    """A run's provenance: which commit each model of the hub was; empty for a run not begun."""
    info = run.read_info()
    return info.provenance if info is not None else {}


def refuse_changes(run: RunFolder, config: RunConfig, *, force: bool) -> None:
    """A run goes on with the config it was started with, unless a person insists.

    Raises:
        BadConfig: keys differ and `force` is not given; lists them. What a run began from cannot
            be changed once it has taken a step, whatever is given.
    """
    found = changes(run, config)
    first = _beginning_of(run, config, found)
    if first and last_step(run):
        onto = config.model.path or "CHECKPOINT"
        raise BadConfig(
            f"{run.path} goes on from its own checkpoints, so what it began from cannot be changed "
            f"any more, by --force neither ({'; '.join(first)}). Give the climb from there another "
            f"--name, or have this one distil its traces onto it: munro rebase {run.path} --onto "
            f"{onto}"
        )
    if found and not force:
        raise BadConfig(
            f"{run.path} was started with another config ({'; '.join(found)}). Give the run "
            "another --name, or resume it with the changes by --force."
        )


def _beginning_of(run: RunFolder, config: RunConfig, found: Sequence[str]) -> list[str]:
    """Those of the changes that ask for other first weights.

    The same folder in other words is none; neither is another place for one that has gone.
    """
    before = (run.read_config() or {}).get("model", {}).get("path", "")
    if not before:
        return [line for line in found if line.startswith(("model.", "base."))]
    was, now = (Path(path).expanduser().absolute() for path in (before, config.model.path))
    lines = [line for line in found if line.startswith("model.")]
    of_hub = recorded(run).get("model.path", "")
    if of_hub and config.model.path:
        # a folder of the very commit, or its name with that commit, is the same in other words
        repo, commit = of_hub.partition(" ")[0].split("@")
        name, behind = split(config.model.path)
        same = name == repo and commit == (behind or config.model.revision)
        is_here = str(now) == recorded(run).get("model")
        return [] if same or is_here else lines
    if config.model.path and (now == was or not was.is_dir()):
        return []
    return lines


def begin(
    run: RunFolder,
    config: RunConfig,
    provenance: Mapping[str, str],
    *,
    force: bool,
    unattended: bool = False,
) -> Start:
    """Begin a new run, or go back to the newest checkpoint of an old one.

    Args:
        run: held by this process.
        config: resolved.
        provenance: what the first weights are, where they are taken.
        force: a person insists: on a changed config, on beginning anew where no checkpoint is left.
        unattended: nobody is there to insist: begin anew where no checkpoint was due yet.

    Raises:
        BadConfig: the config changed, or steps were taken and no checkpoint is found, and `force`
            is not given.
        CheckpointError: the checkpoint is incomplete.
    """
    refuse_changes(run, config, force=force)
    if run.read_info() is None:
        run.begin(raw(config), seed=config.seed, provenance=provenance)
        return Start(state=ClimbState.first(config.clip), checkpoint=None, again=False)
    start = resume(run, config, anew=force, unattended=unattended)
    run.write_config(raw(config))
    info = run.read_info()
    if info is not None and start.checkpoint is None and start.model is None:
        run.write_info(replace(info, provenance=dict(provenance), seed=config.seed))
    elif info is not None:
        # judges and graders may be other ones now; what the weights began from stays true
        kept = {key: of for key, of in info.provenance.items() if key in ("model", "model.path")}
        run.write_info(replace(info, provenance={**provenance, **kept}))
    return start


def resume(
    run: RunFolder, config: RunConfig, *, anew: bool = False, unattended: bool = False
) -> Start:
    """Go back to the newest checkpoint that was written to its end; see `_resumed`."""
    unfinished = tuple(run.drop_unfinished())
    start = _resumed(run, config, anew=anew, unattended=unattended)
    return replace(start, unfinished=unfinished) if unfinished else start


def _resumed(run: RunFolder, config: RunConfig, *, anew: bool, unattended: bool) -> Start:
    """Go back to the newest checkpoint, or to the beginning where no step was taken.

    Args:
        run: begun.
        config: resolved.
        anew: drop what there is and begin at 0 where no checkpoint is found.
        unattended: the same, but only where no checkpoint can be missing, for none was due.

    Raises:
        BadConfig: steps were taken, no checkpoint is found, and that was not said.
    """
    newest, restarts = run.newest_checkpoint(), read_restarts(run)
    info = run.read_info()
    assert info is not None
    if restarts and (newest is None or newest[0] <= restarts[-1].step):
        if info.saved > restarts[-1].step and not anew:
            raise BadConfig(_missing(run, config, info))
        _go_back(run, restarts[-1].step)
        return restarted(run, restarts[-1])
    if newest is None:
        taken = last_step(run)
        was_due = info.saved or taken > config.checkpoint.every_steps
        if taken and not anew and not (unattended and not was_due):
            raise BadConfig(_missing(run, config, info))
        _go_back(run, -1)
        return Start(state=ClimbState.first(config.clip), checkpoint=None, again=True)
    step, folder = newest
    start = saved_start(folder)
    _go_back(run, step)
    if restarts:
        return replace(start, model=run.path / restarts[-1].checkpoint)
    return start


def _missing(run: RunFolder, config: RunConfig, info: RunInfo) -> str:
    """What is told where steps were taken and the checkpoint to go on from is not there."""
    where, steps = run.checkpoints.resolve(), last_step(run)
    if info.saved:
        what = f"{run.checkpoint(info.saved).resolve()} is missing"
    elif steps > config.checkpoint.every_steps:
        what = f"there is none in {where}"
    else:
        what = f"none was due yet in {where} (checkpoint.every_steps = "
        what += f"{config.checkpoint.every_steps})"
    return (
        f"{run.path} has taken {steps} steps, but has no checkpoint to go on from: {what}. Put it "
        "back where it was lost; or begin anew by --force, which drops the run's rollouts and "
        "metrics; or give another --name."
    )


def restarted(run: RunFolder, restart: Restart) -> Start:
    """Where a climb goes on after a distillation: new weights, a new optimizer, k = 0.

    Raises:
        CheckpointError: the distilled checkpoint is gone.
    """
    model = Checkpoint(run.path / restart.checkpoint).require().path
    state = ClimbState.from_json(restart.state)
    return Start(state=state, checkpoint=None, again=True, model=model)


def _go_back(run: RunFolder, step: int) -> None:
    from munro.machine.run.token_figures import drop_after as drop_tokens_after
    from munro.rollout.store.store import RolloutStore

    run.resume(step)
    for folder in (run.rollouts, run.dropped, run.evaluated):
        RolloutStore(folder).drop_after(step)
    drop_tokens_after(run.path, step)


def saved_start(folder: Path) -> Start:
    """Where the checkpoint in `folder` goes on.

    Raises:
        CheckpointError: it is incomplete.
    """
    saved = Checkpoint(folder).require(weights=False).provenance()
    return Start(state=ClimbState.from_json(saved["climb_state"]), checkpoint=folder, again=True)
