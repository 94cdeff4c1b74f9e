"""Metrics for the dashboards that people already have open.

`metrics.jsonl` is the record of a run; what a tracker writes is a copy of it. A tracker is a class
in one file, of ours (`machine/trackers/`), of an installed package (entry points of the group
`munro.trackers`), or of the user's:

    tracking = ["tensorboard", "./mine.py:MyTracker"]

    class MyTracker:
        needs = "somepackage"                               # optional: must be importable
        def __init__(self, run, *, config, first_step): ...
        def log(self, step, metrics): ...
        def close(self): ...
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from munro.machine.sentences import is_sentence
from munro.rewards.plugins import BadPlugin, Registry, blame


class TrackingUnavailable(Exception):
    """A tracker cannot be had, or gave up; the message has the way out."""

    is_sentence = True


class Tracker(Protocol):
    """Where metrics are copied to."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Copy the numbers of one step."""
        ...

    def close(self) -> None:
        """Write out what is held back."""
        ...


class TrackerClass(Protocol):
    """What makes one."""

    def __call__(self, run: Path, *, config: Mapping[str, Any], first_step: int) -> Tracker:
        """Open the tracker of a run.

        Args:
            run: its folder; the folder's name is what dashboards show.
            config: the resolved tree, to be shown beside the curves.
            first_step: step that will be logged first; more than 1 where a run is resumed, which
                may have logged later ones before it was stopped.
        """
        ...


def _is_tracker(value: object) -> bool:
    return inspect.isclass(value) and all(
        callable(getattr(value, method, None)) for method in ("log", "close")
    )


TRACKERS = Registry(
    what="tracker", group="munro.trackers", home="munro.machine.trackers", fits=_is_tracker
)


def check(names: Sequence[str]) -> None:
    """Say before a run starts that a tracker is missing.

    Raises:
        TrackingUnavailable: it is named in the config, but there is none of that name, or what it
            needs is not installed.
    """
    for name in names:
        _found(name)


def open_trackers(
    names: Sequence[str], folder: Path, *, config: Mapping[str, Any], first_step: int = 1
) -> list[Tracker]:
    """Open the trackers of the run in `folder`.

    Args:
        names: as in the config.
        folder: of the run.
        config: the resolved tree.
        first_step: step that will be logged first.

    Raises:
        TrackingUnavailable: as `check`, or one would not open.
    """
    found = [(name, _found(name)) for name in names]
    trackers: list[Tracker] = []
    for name, kind in found:
        with _blamed(name, "would not open"):
            tracker = kind(folder, config=config, first_step=first_step)
        trackers.append(_Named(name, tracker))
    return trackers


@dataclass(frozen=True, slots=True)
class _Named:
    """A tracker whose failure says which one it was."""

    name: str
    tracker: Tracker

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Hand on the numbers."""
        numbers = {
            name: value
            for name, value in metrics.items()
            if isinstance(value, int | float) and name != "step"
        }
        with _blamed(self.name, f"failed at step {step}"):
            self.tracker.log(step, numbers)

    def close(self) -> None:
        """As the tracker's."""
        with _blamed(self.name, "would not close"):
            self.tracker.close()


def _found(name: str) -> TrackerClass:
    try:
        kind: TrackerClass = TRACKERS.find(name)
    except BadPlugin as error:
        raise TrackingUnavailable(f"tracking: {error}") from error
    needs = getattr(kind, "needs", "")
    if needs and find_spec(needs) is None:
        # each of ours has an extra of its own name
        ours = getattr(kind, "__module__", "").startswith(f"{TRACKERS.home}.")
        package = f"'munro[{needs}]'" if ours else needs
        raise TrackingUnavailable(
            f'tracking = ["{name}"] needs the package {needs}, which is not installed: '
            f"pip install {package}, or leave it out of tracking."
        )
    return kind


@contextmanager
def _blamed(name: str, what: str) -> Iterator[None]:
    """One sentence for whatever a tracker raises: the run is not to blame for it."""
    try:
        yield
    except Exception as error:
        if is_sentence(error):
            raise
        raise TrackingUnavailable(
            f"the tracker {name} {what}: {blame(error)}. Leave it out of tracking, or mend it; "
            "then the same command resumes."
        ) from error
