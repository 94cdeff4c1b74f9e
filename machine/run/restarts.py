"""Restarts of a climb from distilled weights: when, from which steps' traces, onto which base.

    step 500 ──► is one due? ──► traces of steps before ──► fresh base ──► distilled/step-000500
                                                                                   │
    step 501 ◄── the same state, but k = 0 and a new optimizer ◄───────────────────┘

Nothing here trains or loads a model. `run.json` says which restarts were made: that line, written
when the distilled checkpoint stands, is what the next process goes by.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from munro.distill.select import steps_in
from munro.machine.config import RestartConfig, RunConfig
from munro.machine.run.files import RunError, write_atomically
from munro.machine.run.folder import RunFolder, RunInfo
from munro.rl.state import ClimbState

REQUEST = "rebase.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A person's wish for another base (`munro rebase`), left in the run's folder."""

    base: str
    """Folder of the checkpoint."""
    id: str
    """Tells this request from one for the same folder later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A distillation that is due."""

    step: int
    """Optimizer steps taken."""
    cause: str
    base: str
    """Folder to distil onto."""
    first_step: int
    last_step: int
    """Traces of these steps may be taken, both included."""
    is_collapse: bool = False
    request: str = ""
    """Id of the request that this answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """A distillation that was made, as `run.json` keeps it."""

    step: int
    cause: str
    base: str
    first_step: int
    last_step: int
    checkpoint: str
    """What the climb went on from, below the run's folder."""
    state: str
    """The `ClimbState` that it went on with, as JSON."""
    is_collapse: bool = False
    request: str = ""


def read_restarts(run: RunFolder) -> tuple[Restart, ...]:
    """What the run says of its restarts, oldest first.

    Raises:
        RunError: run.json cannot be read.
    """
    return restarts_of(run.read_info() or RunInfo())


def restarts_of(info: RunInfo) -> tuple[Restart, ...]:
    """Those that a run's own words tell of, oldest first."""
    known = {item.name for item in fields(Restart)}
    return tuple(
        Restart(**{key: value for key, value in raw.items() if key in known})
        for raw in info.restarts
    )


def plain(restart: Restart) -> dict[str, Any]:
    """As run.json holds it."""
    return asdict(restart)


def due(
    config: RunConfig,
    state: ClimbState,
    restarts: Sequence[Restart],
    *,
    model: str,
    request: Request | None = None,
) -> Plan | None:
    """The distillation to be made after the steps that `state` has taken, or None.

    A climb that is at its end, or has not taken a step since it last began, needs none. A collapse
    comes first, since it decides which traces may be taken.

    Args:
        config: of the run.
        state: between two steps.
        restarts: those made so far.
        model: what the climb began from, the base unless the config or a request names another.
        request: one that has not been answered.
    """
    how = config.distill
    if state.step >= config.num_steps or state.step == state.began_step:
        return None
    if request is not None and any(request.id == made.request for made in restarts):
        request = None
    cause, last, is_collapse = "", state.step, False
    collapse = state.watch.found(state.step, config.collapse)
    if collapse and "collapse" in how.on and collapse.began > 1:
        cause, last, is_collapse = f"collapse: {collapse.cause}", collapse.began - 1, True
    elif request and "new_base" in how.on:
        cause = "a new base"
    elif "stage" in how.on and state.stage > state.began_stage:
        cause = f"length cap {config.length.stages[state.stage]}"
    elif how.every and state.step - state.began_step >= how.every:
        cause = f"every {how.every} steps"
    if not cause:
        return None
    first, last = _span(restarts, last, how.select.window)
    return Plan(
        step=state.step,
        cause=cause,
        base=request.base if request else base_of(how, restarts, model),
        first_step=first,
        last_step=last,
        is_collapse=is_collapse,
        request=request.id if request else "",
    )


def base_of(config: RestartConfig, restarts: Sequence[Restart], model: str) -> str:
    """The base to distil onto: the last one asked for, the config's, or the climb's own start."""
    asked = [made.base for made in restarts if made.request]
    return asked[-1] if asked else config.onto or model


def _span(restarts: Sequence[Restart], last: int, window: tuple[float, float]) -> tuple[int, int]:
    """First and last step to take traces of: the window of those that no collapse has spoilt."""
    first = 1
    for made in restarts:
        if made.is_collapse and last > made.step:
            first = made.step + 1
        elif made.is_collapse:
            # it collapsed again at once: what was good the last time still is
            return made.first_step, made.last_step
    # a window so narrow that no step lies in it still gets the last one
    steps = steps_in(range(first, last + 1), window) or [last]
    return steps[0], steps[-1]


# a request for another base


def write_request(run: RunFolder, request: Request) -> Path:
    """Leave the request where the process that holds the run finds it."""
    path = run.path / REQUEST
    write_atomically(path, json.dumps(asdict(request)) + "\n")
    return path


def read_request(run: RunFolder) -> Request | None:
    """The request that lies in the run's folder.

    Raises:
        RunError: the file is not what `write_request` writes.
    """
    path = run.path / REQUEST
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        raw = json.loads(text)
        return Request(base=str(raw["base"]), id=str(raw["id"]))
    except (ValueError, KeyError, TypeError) as broken:
        raise RunError(f"{path} cannot be read ({broken}). Remove it, and ask again.") from broken


def drop_request(run: RunFolder, request: Request) -> None:
    """Take the request out of the folder, unless another one lies there by now."""
    if read_request(run) == request:
        (run.path / REQUEST).unlink(missing_ok=True)
