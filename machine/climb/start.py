"""From a run folder to the state that a climb begins or goes on with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from munro.base_model.checkpoint import Checkpoint
from munro.machine.config import RunConfig
from munro.machine.loading import BadConfig
from munro.machine.run.folder import RunFolder, Status, difference
from munro.machine.run.restarts import Restart, read_restarts
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


def is_finished(run: RunFolder, config: RunConfig) -> bool:
    """Whether the same config was climbed to its end here already."""
    info = run.read_info()
    return info is not None and info.status is Status.FINISHED and not changes(run, config)


def changes(run: RunFolder, config: RunConfig) -> list[str]:
    """What differs between `config` and the one the run was started with."""
    before = run.read_config()
    return [] if before is None else difference(_completed(before), raw(config))


def _completed(before: Mapping[str, Any]) -> Mapping[str, Any]:
    """A run's config with the keys that came into being since, which it had at their defaults."""
    try:
        return raw(RunConfig.model_validate(before))
    except ValidationError:
        return before


def raw(config: RunConfig) -> dict[str, Any]:
    """The config as plain data."""
    return config.model_dump(mode="json")


def refuse_changes(run: RunFolder, config: RunConfig, *, force: bool) -> None:
    """A run goes on with the config it was started with, unless a person insists.

    Raises:
        BadConfig: keys differ and `force` is not given; lists them.
    """
    found = changes(run, config)
    if found and not force:
        raise BadConfig(
            f"{run.path} was started with another config ({'; '.join(found)}). Give the run "
            "another --name, or resume it with the changes by --force."
        )


def begin(
    run: RunFolder, config: RunConfig, provenance: Mapping[str, str], *, force: bool
) -> Start:
    """Begin a new run, or go back to the newest checkpoint of an old one.

    Raises:
        BadConfig: the config changed and `force` is not given.
        CheckpointError: the checkpoint is incomplete.
    """
    refuse_changes(run, config, force=force)
    if run.read_info() is None:
        run.begin(raw(config), seed=config.seed, provenance=provenance)
        return Start(state=ClimbState.first(config.clip), checkpoint=None, again=False)
    run.write_config(raw(config))
    return resume(run, config)


def resume(run: RunFolder, config: RunConfig) -> Start:
    """Go back to the newest checkpoint, or to the beginning where there is none."""
    newest, restarts = run.newest_checkpoint(), read_restarts(run)
    if restarts and (newest is None or newest[0] <= restarts[-1].step):
        _go_back(run, restarts[-1].step)
        return restarted(run, restarts[-1])
    if newest is None:
        _go_back(run, -1)
        return Start(state=ClimbState.first(config.clip), checkpoint=None, again=True)
    step, folder = newest
    start = saved_start(folder)
    _go_back(run, step)
    if restarts:
        return replace(start, model=run.path / restarts[-1].checkpoint)
    return start


def restarted(run: RunFolder, restart: Restart) -> Start:
    """Where a climb goes on after a distillation: new weights, a new optimizer, k = 0.

    Raises:
        CheckpointError: the distilled checkpoint is gone.
    """
    model = Checkpoint(run.path / restart.checkpoint).require().path
    state = ClimbState.from_json(restart.state)
    return Start(state=state, checkpoint=None, again=True, model=model)


def _go_back(run: RunFolder, step: int) -> None:
    from munro.rollout.store.store import RolloutStore

    run.resume(step)
    RolloutStore(run.rollouts).drop_after(step)


def saved_start(folder: Path) -> Start:
    """Where the checkpoint in `folder` goes on.

    Raises:
        CheckpointError: it is incomplete.
    """
    saved = Checkpoint(folder).require().provenance()
    return Start(state=ClimbState.from_json(saved["climb_state"]), checkpoint=folder, again=True)
