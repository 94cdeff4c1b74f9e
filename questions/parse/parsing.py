"""The stage `parse`: files into pages, each file by itself, in children that may be killed.

A page or a file that takes too long, too much memory, or ends its child is left out with that as
its reason; its neighbours are read all the same.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from munro.questions.config import LimitsConfig, QuestionsConfig, SourceConfig
from munro.questions.errors import QuestionsError
from munro.questions.parse.format import FORMATS, Format
from munro.questions.places import located
from munro.questions.stages import Outcome, Unit
from munro.questions.types import Dropped, Page
from munro.rewards.plugins import BadPlugin
from munro.rewards.workers import Status, WorkerPool

STAGE = "parse"
CHILD = "munro.questions.parse.child"
AT_ONCE = 32
"""Pages that a child is asked for together."""
HEAD = 1024
NEEDS_OCR = "needs_ocr"
DIGITS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A document as it lies on the disk."""

    source: str
    path: Path
    form: str
    """Name of its format; empty where none fits its name."""
    digest: str


def files_of(config: QuestionsConfig) -> list[File]:
    """Every document of every source, in order.

    Raises:
        QuestionsError: a path leads to nothing, or no source has a document.
    """
    found = [
        File(source=source.name, path=path, form=form, digest=_digest(path, config.limits))
        for source in config.sources
        for path, form in listed(source)
    ]
    if not any(file.form for file in found):
        names = ", ".join(source.name for source in config.sources)
        suffixes = [suffix for form in _forms().values() for suffix in form.suffixes]
        raise QuestionsError(
            f"no source has a document ({names}): mend `paths`. Read are {', '.join(suffixes)}."
        )
    return found


def listed(source: SourceConfig) -> list[tuple[Path, str]]:
    """A source's files, each with the name of its format, empty where none fits its name.

    Raises:
        QuestionsError: a path leads to nothing, or the format is none.
    """
    forms = _forms()
    return [(path, _form(path, source, forms)) for path in _paths(source)]


class Parser:
    """Children that read documents. Use as a context manager."""

    def __init__(self, limits: LimitsConfig, workers: int) -> None:
        self.limits = limits
        self.at_once = workers or os.cpu_count() or 1
        self._pool = WorkerPool(
            size=self.at_once,
            timeout_s=limits.page_s,
            memory_mb=limits.memory_mb,
            preload=[f"{CHILD}:prepare"],
            sealed=False,  # that forbids ctypes, which PDFium is called by; `prepare` has a seal
        )

    def __enter__(self) -> Parser:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.close()

    def units(self, files: Sequence[File]) -> list[Unit]:
        """One for each file."""
        seen: dict[str, File] = {}
        units = []
        for number, file in enumerate(files):
            first = seen.setdefault(file.digest, file)
            units.append(Unit(name=f"{number:06}", work=partial(self.parsed, file, first)))
        return units

    def parsed(self, file: File, first: File) -> Outcome:
        """The pages of a file, and what was left out of it.

        Args:
            file: to read.
            first: of the files with the same bytes.
        """
        limits = self.limits
        if why := self._refusal(file, first):
            return Outcome(dropped=[self._dropped(file, 0, *why)])
        opened = self._asked("count", file, seconds=limits.page_s)
        if "refused" in opened:
            return Outcome(dropped=[self._dropped(file, 0, opened["refused"], opened["evidence"])])
        total = int(opened["pages"])
        if total > limits.pages:
            why = ("too many pages", f"{total:,}, limits.pages = {limits.pages:,}")
            return Outcome(dropped=[self._dropped(file, 0, *why)])
        if not total:
            return Outcome(dropped=[self._dropped(file, 0, "no pages", "")])
        outcome, until = Outcome(), time.monotonic() + limits.document_s
        for start in range(0, total, AT_ONCE):
            if time.monotonic() > until:
                why = ("takes too long", f"from here on: limits.document_s = {limits.document_s:g}")
                outcome.dropped.append(self._dropped(file, start + 1, *why))
                break
            self._read(file, start, min(start + AT_ONCE, total), outcome)
            if sum(len(page.text) for page in outcome.kept) > limits.document_characters:
                shown = f"limits.document_characters = {limits.document_characters:,}"
                return Outcome(dropped=[self._dropped(file, 0, "too much text", shown)])
        return outcome

    def picture(self, file: File, number: int, dpi: int) -> dict[str, Any]:
        """{"picture": base 64} of a page, from 0, or {"refused": reason, "evidence": ...}."""
        return self._asked("picture", file, number, dpi, seconds=self.limits.page_s)

    def _read(self, file: File, first: int, after: int, outcome: Outcome) -> None:
        """Pages together; where that fails, one by one, so that only the bad ones are lost."""
        limits = self.limits
        settings = (first, after, limits.page_characters, limits.unknown)
        seconds = limits.page_s * (1 if after - first == 1 else 2)
        answer = self._asked("pages", file, *settings, seconds=seconds)
        if "refused" in answer and after - first > 1:
            for number in range(first, after):
                self._read(file, number, number + 1, outcome)
            return
        if "refused" in answer:
            reason, evidence = answer["refused"], answer["evidence"]
            outcome.dropped.append(self._dropped(file, first + 1, reason, evidence))
            return
        for number, page in enumerate(answer["pages"], first + 1):
            reason, _, evidence = page["problem"].partition(": ")
            if reason and reason != NEEDS_OCR:  # of which the stage `ocr` is to make something
                outcome.dropped.append(self._dropped(file, number, reason, evidence))
            outcome.kept.append(
                Page(
                    document=file.digest,
                    source=file.source,
                    file=str(file.path),
                    number=number,
                    text=page["text"],
                    headings=tuple(page["headings"]),
                    needs=evidence if reason == NEEDS_OCR else "",
                )
            )

    def _asked(self, what: str, file: File, *more: Any, seconds: float) -> dict[str, Any]:
        outcome = self._pool.run(
            f"{CHILD}:{what}", file.form, str(file.path), *more, timeout_s=seconds
        )
        if outcome.status is Status.DONE:
            answer: dict[str, Any] = outcome.value
            return answer
        reasons = {
            Status.TIMED_OUT: "takes too long",
            Status.OUT_OF_MEMORY: "takes too much memory",
            Status.DIED: "ends its reader",
        }
        reason = reasons.get(outcome.status, "cannot be read")
        return {"refused": reason, "evidence": outcome.detail}

    def _refusal(self, file: File, first: File) -> tuple[str, str] | None:
        """Why a file is not opened, and what shows it; nothing where it may be."""
        if first is not file:
            return "the same file as another", str(first.path)
        if not file.form:
            return "no format for its name", file.path.suffix or "no suffix"
        size = file.path.stat().st_size
        if size > self.limits.document_mb * 1e6:
            return "too large", f"{size / 1e6:,.0f} MB, limits.document_mb"
        with file.path.open("rb") as opened:
            head = opened.read(HEAD)
        if not head:
            return "empty", ""
        form: type[Format] = FORMATS.find(file.form)
        if why := form.lacking():
            return "nobody here reads its format", why
        if not form.looks_like(head):
            begins = " ".join(head[:60].decode("ascii", "replace").split())
            return f"is no {file.form}", f"begins {begins!r}"
        return None

    def _dropped(self, file: File, page: int, reason: str, evidence: str) -> Dropped:
        return Dropped(
            stage=STAGE,
            reason=reason,
            evidence=evidence,
            source=file.source,
            file=str(file.path),
            page=page,
            id=file.digest,
        )


def _forms() -> dict[str, type[Format]]:
    return {name: FORMATS.find(name) for name in FORMATS.names()}


def _form(path: Path, source: SourceConfig, forms: dict[str, type[Format]]) -> str:
    if source.format != "auto":
        return source.format
    suffix = path.suffix.lower()
    return next((name for name, form in forms.items() if suffix in form.suffixes), "")


def _paths(source: SourceConfig) -> list[Path]:
    if source.format != "auto":
        try:
            form: type[Format] = FORMATS.find(source.format)
        except BadPlugin as error:
            raise QuestionsError(f"sources, {source.name}: {error}") from None
        if why := form.lacking():
            raise QuestionsError(f"sources, {source.name}, format {source.format!r}: {why}.")
    found: list[Path] = []
    for path in source.paths:
        expanded = located(path)
        if expanded.is_file():
            found.append(expanded)
            continue
        if expanded.is_dir():
            inside = expanded.rglob("*")
        else:
            fixed = Path(expanded.anchor) if expanded.is_absolute() else Path()
            pattern = str(expanded.relative_to(expanded.anchor) if expanded.anchor else expanded)
            inside = fixed.glob(pattern)
        files = sorted(one for one in inside if one.is_file() and not one.name.startswith("."))
        if not files:
            raise QuestionsError(f"source {source.name}: there is no file {path}. Mend `paths`.")
        found += files
    return list(dict.fromkeys(found))


def digest_of_file(file: Path) -> str:
    """First digits of the SHA-256 of its bytes.

    Raises:
        QuestionsError: it cannot be read.
    """
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()[:DIGITS]
    except OSError as error:
        raise QuestionsError(f"{file} cannot be read ({error.strerror}): mend that.") from error


def _digest(path: Path, limits: LimitsConfig) -> str:
    """Of the bytes; of a file that is not going to be read, of its name and size."""
    size = path.stat().st_size
    if size > limits.document_mb * 1e6:
        return hashlib.sha256(f"{path} {size}".encode()).hexdigest()[:DIGITS]
    return digest_of_file(path)
