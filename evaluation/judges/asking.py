"""Many questions to one grader, of whatever kind: a grade or a named failure for each, and what
they cost.

A failure is not a verdict: a judge that cannot be reached, that rambles or that declines to judge
says nothing about the response, and its answer counts nowhere.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from munro.rewards.errors import EpisodeError
from munro.rewards.kinds import Grader, check_item, find, make
from munro.rewards.service import GradingService
from munro.rewards.types import Grade

T = TypeVar("T")
MOST_SHOWN = 5


class CannotTest(ValueError):
    """Why a judge cannot be tested on these labels; one sentence."""

    is_sentence = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is tested.

    Example:
        Subject(kind="pattern", options={"pattern": "sorry"})
    """

    kind: str
    """Of grader."""
    options: Mapping[str, Any] = field(default_factory=dict)
    workers: int = 0
    """Questions at once; 0 for what suits the kind."""

    @property
    def asks_a_judge(self) -> bool:
        """Whether a second asking may come out differently."""
        return "judge" in self.options

    def afresh(self) -> Subject:
        """The same with nothing remembered."""
        judge = self.options.get("judge")
        if not isinstance(judge, Mapping):
            return self
        options = {**self.options, "judge": {**judge, "cache": ""}}
        return Subject(kind=self.kind, options=options, workers=self.workers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What came back."""

    grades: tuple[Grade | None, ...]
    """None where there is none."""
    failures: Counter[str] = field(default_factory=Counter)
    """By their reason."""
    cost: Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What so many questions took."""

    asked: int
    """Responses, or comparisons, that were brought."""
    requests: float = 0.0
    remembered: float = 0.0
    """Questions whose answer was known from before."""
    tokens_in: float = 0.0
    tokens_out: float = 0.0
    seconds: float = 0.0

    def per_thousand(self, value: float) -> float:
        """Of each thousand that were brought, as far as they had to be asked."""
        return 1000 * value / self.asked if self.asked else 0.0


def ask(
    subject: Subject, items: Sequence[Mapping[str, Any]], numbers: Sequence[int], path: str
) -> Answers:
    """A grade or a failure for every item.

    Args:
        subject: what is tested.
        items: what it is given.
        numbers: of their rows in the file, for messages.
        path: of the file, for messages.

    Raises:
        CannotTest: it takes other fields than the rows have; names the rows.
        ValueError: its options are wrong.
        EpisodeError: it cannot be had at all.
    """
    if not find(subject.kind).kind.in_process:
        return _by_service(subject, items, numbers, path)
    with make(subject.kind, **subject.options) as grader:
        _refuse(subject.kind, grader.check, items, numbers, path)
        found, cost = at_once(subject, grader, grader.grade, items)
    return _answers(found, cost)


def at_once(
    subject: Subject, grader: Grader, question: Callable[..., T], rows: Sequence[Any]
) -> tuple[list[T | EpisodeError], Cost]:
    """`question(row)` of every row in threads, or its failure; and what all of it cost."""
    began, before = time.monotonic(), dict(grader.metrics())
    workers = subject.workers or find(subject.kind).kind.workers
    with ThreadPoolExecutor(max_workers=max(workers, 1)) as pool:
        futures = [pool.submit(question, row) for row in rows]
        found = _outcomes(futures)
    now = grader.metrics()
    grown = {name: now[name] - before.get(name, 0.0) for name in now}
    cost = Cost(
        asked=len(rows),
        requests=grown.get("requests", 0.0),
        remembered=grown.get("cached", 0.0),
        tokens_in=grown.get("tokens_in", 0.0),
        tokens_out=grown.get("tokens_out", 0.0),
        seconds=time.monotonic() - began,
    )
    return found, cost


def _by_service(
    subject: Subject, items: Sequence[Mapping[str, Any]], numbers: Sequence[int], path: str
) -> Answers:
    began = time.monotonic()
    with GradingService() as service:
        usable = service.prepare(subject.kind, subject.options)
        _refuse(subject.kind, usable, items, numbers, path)
        futures = [service.submit(subject.kind, item, options=subject.options) for item in items]
        found = _outcomes(futures)
    return _answers(found, Cost(asked=len(items), seconds=time.monotonic() - began))


def _outcomes(futures: Sequence[Future[T]]) -> list[T | EpisodeError]:
    """What each came to, in their order."""
    found: list[T | EpisodeError] = []
    for future in futures:
        try:
            found.append(future.result())
        except EpisodeError as failure:
            found.append(failure)
    return found


def _answers(found: Sequence[Grade | EpisodeError], cost: Cost) -> Answers:
    return Answers(
        grades=tuple(each if isinstance(each, Grade) else None for each in found),
        failures=Counter(str(each) for each in found if not isinstance(each, Grade)),
        cost=cost,
    )


def _refuse(
    kind: str,
    usable: Callable[[Mapping[str, Any]], None],
    items: Sequence[Mapping[str, Any]],
    numbers: Sequence[int],
    path: str,
) -> None:
    wrong = []
    for number, item in zip(numbers, items, strict=True):
        try:
            check_item(kind, item)
            usable(item)
        except ValueError as error:
            wrong.append(f"row {number}: {error}")
    if wrong:
        more = f" ({len(wrong) - MOST_SHOWN} more)" if len(wrong) > MOST_SHOWN else ""
        raise CannotTest(f"{path}, {'; '.join(wrong[:MOST_SHOWN]).rstrip('.')}{more}.")
