"""Trackers of `accelerate.tracking`, each by the name that accelerate has for it.

accelerate knows a dozen services; what a run needs beside it (going on under the same id, hiding
what it had written beyond the step that it goes on from) stands in files of `machine/trackers`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from munro.machine.run.files import explained

PROJECT = "munro"
UNUSUAL = re.compile(r"[^A-Za-z0-9_\-./ ]")
"""Letters in names of metrics that not every service takes."""


class Accelerated:
    """One of accelerate's trackers, started.

    Args:
        name: accelerate's.
        run: the run's folder.
        config: the resolved tree, for services that take a dictionary with their start.
        options: of the class's constructor, where they are others than its usual ones.
        as_they_are: names of metrics are handed on letter by letter.
    """

    def __init__(
        self,
        name: str,
        run: Path,
        *,
        options: Mapping[str, Any] | None = None,
        as_they_are: bool = False,
    ) -> None:
        from accelerate import PartialState

        PartialState(cpu=True)  # accelerate's log asks it who it is; this process needs no GPU
        self._folder, self._as_they_are = run, as_they_are
        self.tracker: Any = None
        """accelerate's own."""
        with explained(run):
            self.tracker = _made(name, run, options)
            self.tracker.start()

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """One point of every curve."""
        if not self._as_they_are:
            metrics = {UNUSUAL.sub("_", name): value for name, value in metrics.items()}
        with explained(self._folder):
            self.tracker.log(dict(metrics), step=step)

    def close(self) -> None:
        """Hand over what is held back."""
        with explained(self._folder):
            self.tracker.finish()


def known() -> list[str]:
    """Names that accelerate has."""
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    return sorted(map(str, LOGGER_TYPE_TO_CLASS))


def named(name: str) -> Callable[..., Accelerated]:
    """What opens the tracker that accelerate knows by that name, as it is there."""

    def opened(run: Path, **_: Any) -> Accelerated:
        return Accelerated(name, run)

    opened.needs = name  # type: ignore[attr-defined]
    opened.package = name.replace("_", "-")  # type: ignore[attr-defined]
    return opened


def _made(name: str, run: Path, options: Mapping[str, Any] | None) -> Any:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    made = LOGGER_TYPE_TO_CLASS[name]
    if options is not None:
        return made(**options)
    where = {"logging_dir": str(run)} if made.requires_logging_directory else {}
    return made(run.resolve().name, **where)


def once_known(file: Path) -> str | None:
    """The id that a service gave a run, kept in the run's folder; None before the first time."""
    return file.read_text(encoding="utf-8").strip() if file.exists() else None


def remember(file: Path, told: object) -> None:
    """Keep that id."""
    with explained(file):
        file.write_text(str(told), encoding="utf-8")
