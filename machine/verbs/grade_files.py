"""The two files of `munro grade`: responses in, one JSON line each, and grades out.

The output grows by whole lines, so it is valid whatever happens. A second run reads which lines
have a grade already, by number and by what they held, and grades only the others: failures, lines
that were changed, and lines that are new.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, TextIO

from munro.machine.loading import BadConfig
from munro.machine.run.files import explained, write_atomically
from munro.machine.verbs.json_lines import lines_of, parsed
from munro.rewards.kinds import check_item
from munro.rewards.types import Grade

MOST_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One response of the input."""

    number: int
    """In the file, from 1."""
    item: Mapping[str, Any]
    digest: str
    """Of how it is graded and of all that it holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of a line: a grade, or why there is none."""

    number: int
    digest: str
    grade: Grade | None = None
    failure: str = ""

    def as_json(self, item: Mapping[str, Any]) -> str:
        """A line of the output."""
        row: dict[str, Any] = {"line": self.number, "digest": self.digest}
        if "id" in item:
            row["id"] = item["id"]
        if self.grade is None:
            row["failure"] = self.failure
        else:
            row["reward"], row["passed"] = self.grade.reward, self.grade.passed
            row["parts"], row["reason"] = dict(self.grade.parts), self.grade.reason
        return json.dumps(row)

    @classmethod
    def from_json(cls, text: str) -> Verdict:
        """What `as_json` wrote.

        Raises:
            ValueError: it is something else.
        """
        try:
            row = json.loads(text)
            grade = None
            if "failure" not in row:
                grade = Grade(
                    reward=row["reward"],
                    passed=row["passed"],
                    parts=row["parts"],
                    reason=row["reason"],
                )
            return cls(
                number=row["line"],
                digest=row["digest"],
                grade=grade,
                failure=row.get("failure", ""),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"{error!r}") from error


class Responses:
    """A file of responses, every line of it checked before the first is graded."""

    def __init__(self, path: Path, kind: str, options: Mapping[str, Any]) -> None:
        """
        Args:
            path: of the JSONL file.
            kind: what the items must be fit for.
            options: of the grader; they are part of a line's digest.

        Raises:
            BadConfig: no such file, or lines that cannot be graded; names each with its number.
        """
        self.path, self._kind, self._options = path, kind, options
        if not path.is_file():
            raise BadConfig(f"there is no file {path}")
        self.num_lines = 0
        self._refuse(lambda item: check_item(kind, item))
        if not self.num_lines:
            raise BadConfig(f"{path} holds no lines: there is nothing to grade")

    def check(self, usable: Callable[[Mapping[str, Any]], None]) -> None:
        """Let the grader itself look at every line.

        Raises:
            BadConfig: it refuses some (`usable` raised ValueError); names each with its number.
        """
        self._refuse(usable)

    def _refuse(self, usable: Callable[[Mapping[str, Any]], None]) -> None:
        self.num_lines, wrong = 0, []
        for number, text in lines_of(self.path):
            try:
                usable(parsed(text))
                self.num_lines += 1
            except ValueError as error:
                wrong.append(f"{self.path.name}:{number}: {error}")
        if wrong:
            rest = f" ({len(wrong) - MOST_SHOWN} more)" if len(wrong) > MOST_SHOWN else ""
            raise BadConfig(
                "; ".join(wrong[:MOST_SHOWN]).rstrip(".")
                + f"{rest}. Mend or delete these lines; what "
                f"{self._kind!r} takes is in `munro grade --help`."
            )

    def __iter__(self) -> Iterator[Line]:
        for number, text in lines_of(self.path):
            how = json.dumps([self._kind, self._options], sort_keys=True)
            digest = blake2b(f"{how}\n{text}".encode(), digest_size=8).hexdigest()
            yield Line(number=number, item=parsed(text), digest=digest)


class Verdicts:
    """A file of grades, appended to by one process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: TextIO | None = None

    def read(self) -> dict[int, Verdict]:
        """The grades that are there, by line of the input; a last line cut short is left out.

        Raises:
            BadConfig: the file is something else.
        """
        if not self.path.exists():
            return {}
        *whole, _cut = self.path.read_text(encoding="utf-8").split("\n")
        found = {}
        for number, text in enumerate(whole, 1):
            try:
                verdict = Verdict.from_json(text)
            except ValueError as error:
                raise BadConfig(
                    f"{self.path}:{number} is no line that `munro grade` wrote ({error}). Give "
                    "another --out, or delete this file to begin anew."
                ) from None
            found[verdict.number] = verdict
        return {number: verdict for number, verdict in found.items() if verdict.grade is not None}

    def begin(self, kept: Mapping[int, tuple[Verdict, Mapping[str, Any]]]) -> None:
        """Keep these lines, in their order, and open the file to append to.

        Raises:
            RunError: the disk refuses.
        """
        lines = [verdict.as_json(item) + "\n" for _, (verdict, item) in sorted(kept.items())]
        write_atomically(self.path, "".join(lines))
        with explained(self.path):
            self._file = self.path.open("a", encoding="utf-8")

    def append(self, verdict: Verdict, item: Mapping[str, Any]) -> None:
        """Add one line and hand it to the operating system.

        Raises:
            RunError: the disk refuses.
        """
        assert self._file is not None
        with explained(self.path):
            self._file.write(verdict.as_json(item) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
