"""Metrics for the dashboards that people already have open.

`metrics.jsonl` is the record of a run; what a tracker writes is a copy of it. A tracker goes by any
name that accelerate knows ("mlflow", "comet_ml"), or it is a class in one file, of ours
(`machine/trackers/`), of an installed package (entry points of the group `munro.trackers`), or of
the user's:

    tracking = ["tensorboard", "./mine.py:MyTracker"]

    class MyTracker:
        needs = "somepackage"                               # optional: must be importable
        def __init__(self, run, *, config, first_step): ...
        def log(self, step, metrics): ...
        def close(self): ...
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from munro.machine.run import accelerated
from munro.machine.sentences import is_sentence
from munro.rewards.plugins import BadPlugin, PluginNotFound, Registry, blame, nearest


class TrackingUnavailable(Exception):
    """A tracker cannot be had; the message has the way out."""

    is_sentence = True


class Tracker(Protocol):
    """Where metrics are copied to.

    What makes one is called with the run's folder, whose name dashboards show, and by name with
    `config`, the resolved tree to be shown beside the curves, and `first_step`, that will be logged
    first: more than 1 where a run goes on, which may have logged later ones before it was stopped.
    """

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Copy the numbers of one step."""
        ...

    def close(self) -> None:
        """Write out what is held back."""
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


class Trackers:
    """All trackers of a run, opened anew wherever it goes on from an earlier step.

    One that will not open stops a run that has not begun; what happens to one later never does:
    it is told once, and `metrics.jsonl` has what it missed.
    """

    def __init__(
        self,
        names: Sequence[str],
        folder: Path,
        *,
        config: Mapping[str, Any],
        warn: Callable[[str], None],
    ) -> None:
        """
        Args:
            names: as in the config.
            folder: of the run.
            config: the resolved tree.
            warn: told in a sentence of a tracker that failed.
        """
        self._names, self._folder, self._config, self._warn = names, folder, config, warn
        self._open: list[_Named] = []
        self._was_open = False

    def open(self, first_step: int) -> None:
        """Open them, those that are open too, before step `first_step` is logged.

        Raises:
            TrackingUnavailable: as `check`, or one would not open the first time.
        """
        self.close()
        for name in self._names:
            try:
                kind = _found(name)
                with _blamed(name, "would not open"):
                    tracker = kind(self._folder, config=self._config, first_step=first_step)
            except Exception as error:
                if not self._was_open:
                    self.close()
                    raise
                self._warn(f"warning: {error} It goes without.")
                continue
            self._open.append(_Named(name, tracker, self._warn))
        self._was_open = True

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Copy the numbers of one step to each."""
        numbers = {
            name: value
            for name, value in metrics.items()
            if isinstance(value, int | float) and name != "step"
        }
        for tracker in self._open:
            tracker.log(step, numbers)

    def close(self) -> None:
        """Have each write out what it holds back."""
        for tracker in self._open:
            tracker.close()
        self._open = []


@dataclass(slots=True)
class _Named:
    """A tracker that may fail: it is told once which one it was, and left alone for a while."""

    name: str
    tracker: Tracker
    warn: Callable[[str], None]
    failures: int = 0
    """In a row."""
    not_before: float = -math.inf
    """Step until which it is left alone."""
    is_told: bool = False

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Hand on the numbers.

        One that fails slowly, as a server that is gone does, would hold up every step: it is asked
        again after 1, 2, 4 ... steps.
        """
        if step < self.not_before:
            return
        try:
            self.tracker.log(step, numbers)
        except Exception as error:  # noqa: BLE001 - somebody else's, and it must not end a climb
            self.failures += 1
            self.not_before = step + 2 ** (self.failures - 1)
            self._tell(f"failed at step {step}: {_why(error)}")
        else:
            self.failures = 0

    def close(self) -> None:
        """As the tracker's."""
        try:
            self.tracker.close()
        except Exception as error:  # noqa: BLE001 - as in `log`
            self._tell(f"would not close: {_why(error)}")

    def _tell(self, what: str) -> None:
        if not self.is_told:
            self.warn(
                f"warning: the tracker {self.name} {what}. The run goes on, and metrics.jsonl has "
                "everything."
            )
        self.is_told = True


def _found(name: str) -> Callable[..., Tracker]:
    try:
        kind: Any = TRACKERS.find(name)
    except PluginNotFound as error:
        kind = _of_accelerate(name, error)
    except BadPlugin as error:
        raise TrackingUnavailable(f"tracking: {error}") from error
    needs = getattr(kind, "needs", "")
    if needs and find_spec(needs) is None:
        extras = distribution("munro").metadata.get_all("Provides-Extra") or ()
        package = f"'munro[{needs}]'" if needs in extras else getattr(kind, "package", needs)
        raise TrackingUnavailable(
            f'tracking = ["{name}"] needs the package {needs}, which is not installed: '
            f"pip install {package}, or leave it out of tracking."
        )
    found: Callable[..., Tracker] = kind
    return found


def _of_accelerate(name: str, error: PluginNotFound) -> Callable[..., Tracker]:
    """What opens one that accelerate knows and we say nothing of."""
    if ":" in name or name.endswith(".py"):
        raise TrackingUnavailable(f"tracking: {error}") from error
    names, plain = accelerated.known(), name.replace("-", "_")
    if plain in names:
        return accelerated.named(plain)
    hint = nearest(name, {*TRACKERS.names(), *names})
    raise TrackingUnavailable(f"tracking: There is no tracker {name!r}. {hint}") from error


def _why(error: Exception) -> str:
    return str(error).rstrip(".") if is_sentence(error) else blame(error)


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
