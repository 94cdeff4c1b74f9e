"""Results on disk: every attempt, resumable by (entry, task, run), comparable with any other.

    evals/NAME/
      suite.toml          what was asked, resolved
      attempts/*.parquet  one row an attempt, a file each time some were kept
      results.json        figures with their intervals
      page.html           the same, to look at

A file of attempts gets its name once it is whole, so a killed evaluation goes on where it stopped.
"""

from __future__ import annotations

import json
import math
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import tomli_w

from munro.evaluation.figures import figures
from munro.evaluation.files import differences, write_atomically, written
from munro.evaluation.parts import figures_by_part
from munro.evaluation.statistics import Estimate
from munro.evaluation.types import AttemptRow, BadResults

ATTEMPTS = "attempts"
SUITE = "suite.toml"
RESULTS = "results.json"
COMPARED = ("env", "harness", "options", "sampling")
"""Keys of an entry in which two results must agree to be compared. Models may differ in template,
and the same suite may be asked with another seed."""
SCHEMA = pa.schema(
    [
        ("entry", pa.string()),
        ("task", pa.string()),
        ("run", pa.int32()),
        ("seed", pa.int64()),
        ("passed", pa.bool_()),
        ("reward", pa.float64()),
        ("parts", pa.map_(pa.string(), pa.float64())),
        ("labels", pa.map_(pa.string(), pa.string())),
        ("cluster", pa.string()),
        ("num_tokens", pa.int32()),
        ("ending", pa.string()),
        ("prompt", pa.large_string()),
        ("reply", pa.large_string()),
        ("failed", pa.string()),
    ]
)
MAPS = ("parts", "labels")


class Results:
    """One folder of kept attempts.

    Example:
        results = Results(Path("evals/step-40"))
        results.add(rows)
        results.missing("sums", ["17+25", "3+4"], runs=4)    # [("3+4", 0), ...]
    """

    def __init__(self, folder: Path | str) -> None:
        """Open the folder; it is made once something is kept in it."""
        self.folder = Path(folder)
        self._rows: dict[tuple[str, str, int], AttemptRow] | None = None

    def rows(self, entry: str = "") -> list[AttemptRow]:
        """What is kept of an entry (of all, unless one is named), by entry, task and run.

        Raises:
            BadResults: a file cannot be read.
        """
        kept = self._kept()
        return [kept[key] for key in sorted(kept) if not entry or key[0] == entry]

    def add(self, rows: Iterable[AttemptRow]) -> None:
        """Keep these attempts: all of them are on the disk when it returns, or none.

        An attempt that had failed before is replaced by one that did not.

        Raises:
            BadResults: one is there already, or twice among them; or the disk refuses.
        """
        fresh: dict[tuple[str, str, int], AttemptRow] = {}
        kept = self._kept()
        for row in rows:
            key = (row.entry, row.task, row.run)
            before = fresh.get(key) or kept.get(key)
            if before is not None and (key in fresh or not before.failed):
                raise BadResults(
                    f"{self.folder}: {row.entry}/{row.task} run {row.run} came twice: within an "
                    "entry the names of tasks must not repeat."
                )
            fresh[key] = row
        if fresh:
            self._write(list(fresh.values()))
            kept |= fresh

    def missing(self, entry: str, tasks: Sequence[str], runs: int) -> list[tuple[str, int]]:
        """Which (task, run) of an entry have no scored attempt yet, runs of a task together."""
        kept = self._kept()
        wanted = ((task, run) for task in tasks for run in range(runs))
        done = {key[1:] for key, row in kept.items() if key[0] == entry and not row.failed}
        return [one for one in wanted if one not in done]

    def figures(self) -> dict[str, dict[str, Estimate]]:
        """Entry to named figures, each with its interval."""
        return {
            entry: {**figures(self.rows(entry)), **figures_by_part(self.rows(entry))}
            for entry in self.entries()
        }

    def entries(self) -> list[str]:
        """Entries that have attempts, in the order in which they were asked."""
        kept = dict.fromkeys(entry for entry, _, _ in self._kept())
        asked = self.suite().get("entries", {})
        return [*(name for name in asked if name in kept), *(n for n in kept if n not in asked)]

    # what was asked

    def suite(self) -> dict[str, Any]:
        """What `begin` was given; empty where it never was.

        Raises:
            BadResults: the file cannot be read.
        """
        path = self.folder / SUITE
        try:
            return tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as failure:
            raise BadResults(f"{path} cannot be read: {failure}.") from failure

    def model(self) -> dict[str, Any]:
        """Which model was asked: its "name", and what tells its weights."""
        model = self.suite().get("model", {})
        return model if isinstance(model, dict) else {"name": str(model)}

    def asked(self, entry: str) -> dict[str, Any]:
        """Of an entry, what must be the same for two results to be compared."""
        of = self.suite().get("entries", {}).get(entry, {})
        return {key: of[key] for key in COMPARED if key in of}

    def begin(self, suite: Mapping[str, Any]) -> None:
        """Say what is asked here; the same again is a resume.

        Args:
            suite: "model", and "entries" by name, each with "tasks" (how many) and "runs" beside
                what decides its attempts. Plain data without None.

        Raises:
            BadResults: something else was asked here before.
        """
        before, now = self.suite(), tomllib.loads(tomli_w.dumps(suite))
        if before and (told := differences(before, now)):
            raise BadResults(
                f"{self.folder} holds another evaluation ({'; '.join(told[:3])}): give this one "
                "another folder with --out, or remove that one."
            )
        with written(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self.folder / SUITE, tomli_w.dumps(now))

    def holes(self) -> dict[str, str]:
        """Entries that are not whole: what of them is not there, in a few words."""
        asked, found = self.suite().get("entries", {}), {}
        for entry in dict.fromkeys([*asked, *self.entries()]):
            rows = self.rows(entry)
            tasks = len({row.task for row in rows})
            runs = max((row.run for row in rows), default=-1) + 1
            of = asked.get(entry, {})
            wanted = of.get("tasks", tasks) * of.get("runs", runs)
            scored = sum(not row.failed for row in rows)
            if scored < wanted:
                failed = sum(bool(row.failed) for row in rows)
                why = f", {failed} of them failed" if failed else ""
                found[entry] = f"{wanted - scored} of {wanted} attempts of {entry} are missing{why}"
        return found

    def require_whole(self) -> None:
        """Refuse to read anything into an evaluation that was not finished.

        Raises:
            BadResults: attempts are missing, or there is nothing here.
        """
        if not self.folder.is_dir():
            raise BadResults(f"There are no results at {self.folder}: there is no such folder.")
        if not self._kept():
            raise BadResults(f"There are no results at {self.folder}: no attempt was kept.")
        if holes := self.holes():
            raise BadResults(
                f"{self.folder} is not whole ({'; '.join(holes.values())}): the command that made "
                "it goes on with it."
            )

    def summarise(self) -> dict[str, Any]:
        """Write results.json: how far it is, and all figures with their intervals."""
        holes, found = self.holes(), self.figures()
        entries = {
            entry: {
                "tasks": len({row.task for row in self.rows(entry)}),
                "attempts": len(self.rows(entry)),
                "failed": sum(bool(row.failed) for row in self.rows(entry)),
                "whole": entry not in holes,
                "figures": {name: _plain(one) for name, one in found[entry].items()},
            }
            for entry in found
        }
        summary = {"model": self.model().get("name", ""), "whole": not holes}
        summary |= {"entries": entries}
        with written(self.folder):
            write_atomically(self.folder / RESULTS, json.dumps(summary, indent=2) + "\n")
        return summary

    def _kept(self) -> dict[tuple[str, str, int], AttemptRow]:
        if self._rows is None:
            rows: dict[tuple[str, str, int], AttemptRow] = {}
            for file in self._files():
                for row in read(file):
                    rows[row.entry, row.task, row.run] = row
            self._rows = rows
        return self._rows

    def _files(self) -> list[Path]:
        return sorted((self.folder / ATTEMPTS).glob("*.parquet"))

    def _write(self, rows: Sequence[AttemptRow]) -> None:
        folder = self.folder / ATTEMPTS
        files = self._files()
        number = 1 + (int(files[-1].stem) if files else 0)
        path = folder / f"{number:06d}.parquet"
        part = folder / f".{path.name}.{os.getpid()}.part"
        with written(path):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                with part.open("wb") as file:
                    pq.write_table(table_of(rows), file, compression="zstd")
                    file.flush()
                    os.fsync(file.fileno())
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)


def table_of(rows: Sequence[AttemptRow]) -> pa.Table:
    """Rows as they lie in a file."""
    found: list[dict[str, Any]] = []
    for row in rows:
        plain = asdict(row)
        plain["parts"] = [(_text(k), float(v)) for k, v in plain["parts"].items()]
        plain["labels"] = [(_text(k), _text(v)) for k, v in plain["labels"].items()]
        found.append(plain)
    return pa.Table.from_pylist(found, schema=SCHEMA)


def read(path: Path) -> Iterator[AttemptRow]:
    """The attempts of one file.

    Raises:
        BadResults: it is damaged, or holds something else.
    """
    try:
        table = pq.read_table(path, schema=SCHEMA)
        for row in table.to_pylist():
            yield AttemptRow(**{**row, **{name: dict(row[name]) for name in MAPS}})
    except (OSError, pa.ArrowException, KeyError, TypeError) as failure:
        raise BadResults(
            f"{path} cannot be read ({str(failure).splitlines()[0]}): remove that file, and the "
            "same evaluation makes its attempts again."
        ) from failure


def _plain(found: Estimate) -> dict[str, float | None]:
    """As JSON has it: an end that is endless is null."""
    ends = {"mean": found.mean, "low": found.low, "high": found.high}
    return {name: value if math.isfinite(value) else None for name, value in ends.items()}


def _text(value: object) -> str:
    return str(value).encode(errors="backslashreplace").decode()
