"""One run that is looked at: its files, each read from where the last look ended."""

from __future__ import annotations

import math
import threading
import tomllib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from munro.machine.report.report import TARGETS
from munro.machine.report.restarts import segments
from munro.machine.run.files import RunError
from munro.machine.run.folder import RunInfo, Status, info_in, is_held
from munro.machine.run.restarts import Restart, restarts_of
from munro.machine.watch.curves import Curves
from munro.machine.watch.follow import Lines
from munro.machine.watch.given import GivenUp
from munro.machine.watch.shelf import Shelf
from munro.machine.watch.tokens import Decode, tokenizer_of
from munro.rollout.store.store import StoreError

STORES = ("rollouts", "dropped", "evaluated")
MOST_TROUBLES = 5
MOST_EVENTS = 500
"""Of the newest that a page is told each time."""
FRESH_S = 120.0


class Watched:
    """A run's folder as of the last look.

    Example:
        run = Watched(Path("runs/stem"))
        run.look()
        run.told()
    """

    def __init__(self, path: Path, name: str = "") -> None:
        """
        Args:
            path: the run's folder; reading needs no lock, and makes nothing there.
            name: what it is called among others.
        """
        self.path, self.name = path, name or path.resolve().name
        self.curves, self.given = Curves(), GivenUp()
        self.shelves = {name: Shelf(path / name) for name in STORES}
        self.info, self.config = RunInfo(), dict[str, Any]()
        self._metrics = Lines(path / "metrics.jsonl")
        self._journal = Lines(path / "journal.jsonl")
        self._troubles: list[str] = []
        self._decode: Decode | None = None
        self._decodes_for: object = None
        self.lock = threading.RLock()

    @property
    def generation(self) -> int:
        """Counts up when the metrics begin anew, and what a page has of them is void."""
        return self._metrics.generation

    def look(self, until: float = math.inf) -> None:
        """Read what is new. What cannot be read is told (`told`), and the rest is read.

        Args:
            until: on the monotonic clock; attempts that are not read by then wait for the next
                look.
        """
        self._troubles = []
        for read in (self._read_info, self._read_metrics, self._read_journal):
            try:
                read()
            except (OSError, RunError) as error:
                self._troubles.append(_sentence(error))
        for shelf in self.shelves.values():
            try:
                shelf.look(until)
            except StoreError as error:
                self._troubles.append(str(error))
            self._troubles += shelf.damaged.values()

    def _read_info(self) -> None:
        if not self.path.is_dir():
            raise RunError(f"{self.path} is gone: there is no such folder any more.")
        if not (self.path / "run.json").is_file():
            why = "its model comes first" if is_held(self.path) else "no climb was begun there"
            raise RunError(f"{self.path} has no run.json (yet): {why}.")
        self.info = info_in(self.path) or RunInfo()
        self.config = _config(self.path / "config.toml") or self.config
        silent_s = self.silent_s()
        if self.info.status is Status.INTERRUPTED and silent_s is not None and silent_s < FRESH_S:
            self._troubles.append(
                f"no process here is at {self.path}, yet it was written {silent_s:.0f} s ago: it "
                "runs on another machine, or was killed just now."
            )

    def _read_metrics(self) -> None:
        if self._metrics.begins_anew():
            self.curves = Curves()
        for line in self._metrics.more():
            self.curves.add(line)
        if self._metrics.unreadable:
            self._troubles.append(
                f"{self._metrics.unreadable} lines of {self._metrics.path} are no step's metrics, "
                "and were left out."
            )

    def _read_journal(self) -> None:
        if self._journal.begins_anew():
            self.given = GivenUp()
        for line in self._journal.more():
            self.given.add(line)

    @property
    def targets(self) -> dict[str, float]:
        """Reference lines of the figures."""
        found = {}
        for name, (table, key) in TARGETS.items():
            of = self.config.get(table)
            value = of.get(key) if isinstance(of, Mapping) else None
            if isinstance(value, int | float):
                found[name] = float(value)
        return found

    def told(self) -> dict[str, Any]:
        """What a page always shows of it."""
        info, given, whole = self.info, self.given, self.config.get("num_steps")
        return {
            "name": self.name,
            "path": str(self.path),
            "status": str(info.status),
            "cause": str(info.cause or ""),
            "silent_s": self.silent_s(),
            "num_steps": whole if isinstance(whole, int) else None,
            "step": self.curves.steps[-1] if len(self.curves) else None,
            "generation": self.generation,
            "troubles": self._troubles[:MOST_TROUBLES],
            "events": self._events(),
            "segments": segments(self._restarts(), self._model),
            "given": {"total": given.total, "counts": dict(given.counts.most_common())},
            "stored": {
                name: {
                    "attempts": len(shelf),
                    "steps": [shelf.steps[0], shelf.steps[-1]] if shelf.steps else None,
                    "envs": shelf.names("env"),
                    "waiting": shelf.waiting,
                }
                for name, shelf in self.shelves.items()
            },
        }

    def _restarts(self) -> Sequence[Restart]:
        try:
            return restarts_of(self.info)
        except (TypeError, KeyError, AttributeError):  # of another version
            return []

    def _events(self) -> list[dict[str, Any]]:
        resumed = [
            {"step": step, "text": f"resumed after step {step}", "mark": "↻"}
            for step in self.info.resumes
            if isinstance(step, int) and step > 0
        ]
        told = []
        for event in self.curves.events:
            on_curve = event["text"].startswith("distill")
            told.append(event | {"mark": "★" if on_curve else "▾", "onCurve": on_curve})
        return (resumed + told)[-MOST_EVENTS:]

    def silent_s(self) -> float | None:
        """Seconds since anything was written to its metrics."""
        try:
            written = (self.path / "metrics.jsonl").stat().st_mtime
        except OSError:
            return None
        return max(0.0, round(datetime.now(UTC).timestamp() - written, 1))

    def decode(self) -> Decode | None:
        """What turns its tokens into text; None where no tokenizer of it is here."""
        if self._decodes_for != self._model or self._decode is None:
            self._decode = tokenizer_of(self.path, self._model)
            self._decodes_for = self._model
        return self._decode

    @property
    def _model(self) -> str:
        """What the climb began from, where it says so."""
        provenance = self.info.provenance
        return str(provenance.get("model", "")) if isinstance(provenance, Mapping) else ""


def _config(file: Path) -> dict[str, Any]:
    """The run's config; nothing where it is not there, or of a version that wrote another form."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename or 'a file'} cannot be read: {error.strerror}."
    return str(error)
