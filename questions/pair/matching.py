"""Which list of answers is for which list of exercises: by book, chapter, section, and their order.

A key that may be for several lists is for none: its pairs need a judge.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from munro.questions.mark.labels import parts_of
from munro.questions.types import Span, pairwise


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A list of answers, and the exercises that it seems to be for."""

    answers: tuple[Span, ...]
    questions: dict[str, Span] = field(default_factory=dict)
    """By label."""
    doubt: str = ""
    """Why no rule may say that it is for these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A question and an answer of one number."""

    label: str
    question: tuple[int, ...]
    answer: tuple[int, ...]
    page: int
    by: str
    """Who marked them."""
    doubt: str = ""


def keys_of(spans: Sequence[Span]) -> list[Key]:
    """Every list of answers of a document with its exercises."""
    questions, answers = _runs(spans, "question"), _runs(spans, "answer")
    free = dict(questions)
    keys = []
    for scope in dict.fromkeys(run[0].scope for run in answers.values()):
        here = [run for run in answers.values() if run[0].scope == scope]
        theirs = _fitting(scope, list(free.values()), here)
        for number, run in enumerate(here):
            if len(theirs) == len(here):
                keys.append(_key(run, [theirs[number]]))
            else:
                keys.append(_key(run, theirs))
    return keys


def matches_of(key: Key, text: str) -> list[Match]:
    """Its pairs by number, in the order of the key; parts a), b), c) by themselves."""
    found = []
    for answer in key.answers:
        question = key.questions.get(answer.label)
        if question is not None:
            whole = Match(
                label=answer.label,
                question=question.pieces,
                answer=answer.pieces,
                page=question.page,
                by=question.by,
                doubt=key.doubt,
            )
            found += in_parts(whole, text)
    return found


def in_parts(whole: Match, text: str) -> list[Match]:
    """A pair, or one for each of its parts where both sides have the same."""
    asked = parts_of(_joined(whole.question, text))
    given = parts_of(_joined(whole.answer, text))
    if not given:
        return [whole]
    if [letter for letter, _, _ in asked] != [letter for letter, _, _ in given]:
        return [replace(whole, doubt=whole.doubt or "the parts of question and answer differ")]
    stem = _cut(whole.question, text, 0, _first_mark(whole.question, text))
    return [
        replace(
            whole,
            label=f"{whole.label}{letter}",
            question=(*stem, *_cut(whole.question, text, begin, end)),
            answer=_cut(whole.answer, text, *other[1:]),
        )
        for (letter, begin, end), other in zip(asked, given, strict=True)
    ]


def _runs(spans: Sequence[Span], role: str) -> dict[int, list[Span]]:
    runs: dict[int, list[Span]] = defaultdict(list)
    beside = {(span.run, span.label) for span in spans if span.role == "beside"}
    for span in spans:
        if span.role == role and (span.run, span.label) not in beside:
            runs[span.run].append(span)
    return dict(runs)


def _fitting(
    scope: str, runs: Sequence[list[Span]], here: Sequence[Sequence[Span]]
) -> list[list[Span]]:
    """The lists of exercises that a scope's answers may be for."""
    book, chapter, section = scope.split("/", 2)
    of_book = [run for run in runs if run[0].scope.split("/", 2)[0] == book]
    if chapter:
        of_book = [run for run in of_book if run[0].scope.split("/", 2)[1] == chapter]
    if section:
        exact = [run for run in of_book if run[0].scope == scope]
        of_book = exact or of_book
    if len(of_book) > len(here):
        # numbers that say their chapter ("3.2"), or a list that alone has all of them
        wanted = {span.label for run in here for span in run}
        holding = [run for run in of_book if wanted <= {span.label for span in run}]
        if len(holding) == len(here) == 1:
            return holding
    return of_book


def _key(run: Sequence[Span], lists: Sequence[Sequence[Span]]) -> Key:
    questions: dict[str, Span] = {}
    twice: set[str] = set()
    for some in lists:
        for span in some:
            if span.label in questions:
                twice.add(span.label)
            questions.setdefault(span.label, span)
    if not questions:
        return Key(answers=tuple(run))
    doubt = ""
    strange = [span.label for span in run if span.label not in questions]
    if twice & {span.label for span in run}:
        doubt = f"exercise {min(twice)} is there more than once"
    elif strange:
        doubt = f"the key answers {strange[0]}, which is not among the exercises"
    return Key(answers=tuple(run), questions=questions, doubt=doubt)


def _joined(pieces: Sequence[int], text: str) -> str:
    return "\n".join(text[begin:end] for begin, end in pairwise(pieces))


def _first_mark(pieces: Sequence[int], text: str) -> int:
    """Where the sign of the first part begins, in the joined text."""
    joined = _joined(pieces, text)
    begin = parts_of(joined)[0][1]
    head = joined[:begin].rstrip().rstrip(").").rstrip("abcdefgh").rstrip("(")
    return len(head.rstrip())


def _cut(pieces: Sequence[int], text: str, begin: int, end: int) -> tuple[int, ...]:
    """The pieces between two places of the joined text, without white space at their ends."""
    found: list[int] = []
    at = 0
    for first, after in pairwise(pieces):
        low, high = max(begin - at, 0), min(end - at, after - first)
        at += after - first + 1
        if low < high:
            inner = text[first + low : first + high]
            if inner.strip():
                low += len(inner) - len(inner.lstrip())
                high -= len(inner) - len(inner.rstrip())
                found += [first + low, first + high]
    return tuple(found)
