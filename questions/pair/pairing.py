"""The stage `pair`: each question with its answer, and no pair that nothing vouches for.

beside a question        by its place
in a key                 by its number, where the answers show that the key is not shifted
everything else          by a reader, who is shown one pair at a time; without one it is listed
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from munro.questions.config import PairConfig
from munro.questions.pair.fit import fit
from munro.questions.pair.keys import vouched
from munro.questions.pair.matching import Key, Match, in_parts, keys_of, matches_of
from munro.questions.stages import Outcome
from munro.questions.types import Dropped, Page, Pair, Span, pieces_of, text_of

STAGE = "pair"
BESIDE = "beside it"
NEEDS = "needs a judge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """A pair that rules leave open."""

    match: Match
    others: tuple[tuple[int, ...], ...] = ()
    """Answers near it in the key, nearest first."""
    why: str


Reader = Callable[[Sequence[tuple[str, Sequence[str]]]], list[int | None]]
"""For each question and the answers it may have: the place of its own, or none."""


def paired(
    pages: Sequence[Page],
    spans: Sequence[Span],
    config: PairConfig,
    reader: Reader | None = None,
    reader_name: str = "",
) -> Outcome:
    """The pairs of a document.

    Args:
        pages: of the document.
        spans: marked in it.
        config: what rules may decide.
        reader: is asked about the rest.
        reader_name: kept with what the reader decided.
    """
    text = text_of([page.text for page in pages])
    decided: list[tuple[Match, str]] = []
    open_ones: list[Open] = []
    used: set[tuple[int, ...]] = set()
    for match in _beside(spans, text):
        used |= {match.answer}
        found = fit(pieces_of(text, match.question), pieces_of(text, match.answer))
        if match.by != "rules":
            open_ones.append(Open(match=match, why=f"marked by {match.by}"))
        elif match.doubt or found.score < 0:
            open_ones.append(Open(match=match, why=match.doubt or found.seen))
        else:
            decided.append((match, BESIDE))
    keys = keys_of(spans)
    for key in keys:
        ours, theirs = _of_key(key, text, config)
        decided += ours
        open_ones += theirs
    outcome = Outcome()
    taken = [(match, by) for match, by in decided if match.question]
    taken += _asked(open_ones, text, reader, reader_name, pages[0], config, outcome)
    outcome.kept = [_pair(pages[0], match, by, text) for match, by in sorted(taken, key=_place)]
    outcome.dropped += _alone(pages[0], spans, keys, text)
    return outcome


def _place(item: tuple[Match, str]) -> tuple[int, ...]:
    return (*item[0].question[-2:], *item[0].answer[:1])


def _beside(spans: Sequence[Span], text: str) -> list[Match]:
    answers = {(span.run, span.label): span for span in spans if span.role == "beside"}
    found: list[Match] = []
    for span in spans:
        answer = answers.get((span.run, span.label))
        if span.role == "question" and answer is not None:
            whole = Match(
                label=span.label,
                question=span.pieces,
                answer=answer.pieces,
                page=span.page,
                by=span.by,
            )
            found += in_parts(whole, text)
    return found


def _of_key(key: Key, text: str, config: PairConfig) -> tuple[list[tuple[Match, str]], list[Open]]:
    """What rules decide of a key, and what they leave open."""
    matches = matches_of(key, text)
    asked = [pieces_of(text, match.question) for match in matches]
    given = [pieces_of(text, match.answer) for match in matches]
    prior, later = ["", *given][:-1], [*given, ""][1:]
    own = [fit(*both) for both in zip(asked, given, strict=True)]
    by = vouched(
        own,
        [fit(*both) for both in zip(asked, prior, strict=True)],
        [fit(*both) for both in zip(asked, later, strict=True)],
    )
    decided, left = [], []
    for at, match in enumerate(matches):
        waived = config.evidence == "waived" and own[at].score >= 0
        if not match.doubt and (by[at] or waived):
            decided.append((match, by[at] or "its number alone"))
            continue
        why = match.doubt or (own[at].seen if own[at].score < 0 else "")
        near = [other for other in (at + 1, at - 1, at + 2, at - 2) if 0 <= other < len(matches)]
        left.append(
            Open(
                match=match,
                others=tuple(matches[other].answer for other in near),
                why=why or "nothing shows that the key is not shifted here",
            )
        )
    return decided, left


def _asked(
    open_ones: Sequence[Open],
    text: str,
    reader: Reader | None,
    name: str,
    page: Page,
    config: PairConfig,
    outcome: Outcome,
) -> list[tuple[Match, str]]:
    """What a reader makes of the open ones; what is left goes to the dropped."""
    chosen: list[int | None] = [None] * len(open_ones)
    if reader is not None:
        shown = [
            (
                pieces_of(text, one.match.question),
                [pieces_of(text, one.match.answer)]
                + [pieces_of(text, other) for other in one.others[: config.rounds - 1]],
            )
            for one in open_ones
        ]
        chosen = reader(shown)
    taken = []
    for one, place in zip(open_ones, chosen, strict=True):
        if place is not None:
            answer = (one.match.answer, *one.others)[place]
            match = one.match
            taken.append((_with_answer(match, answer), name))
            continue
        reason = NEEDS if reader is None else "not its answer, says the reader"
        outcome.dropped.append(
            _dropped(page, one.match.question, one.match.answer, one.match, reason, one.why, text)
        )
    return taken


def _with_answer(match: Match, answer: tuple[int, ...]) -> Match:
    return Match(
        label=match.label, question=match.question, answer=answer, page=match.page, by=match.by
    )


def _alone(page: Page, spans: Sequence[Span], keys: Sequence[Key], text: str) -> list[Dropped]:
    """Questions without an answer, and answers without a question."""
    beside = {(span.run, span.label) for span in spans if span.role == "beside"}
    answered = {
        key.questions[span.label].pieces
        for key in keys
        for span in key.answers
        if span.label in key.questions
    }
    lone = []
    for span in spans:
        match = Match(label=span.label, question=span.pieces, answer=(), page=span.page, by=span.by)
        is_beside = (span.run, span.label) in beside
        if span.role == "question" and not is_beside and span.pieces not in answered:
            lone.append(_dropped(page, span.pieces, (), match, "no answer", span.scope, text))
    for key in keys:
        for span in key.answers:
            if span.label not in key.questions:
                match = Match(
                    label=span.label, question=(), answer=span.pieces, page=span.page, by=span.by
                )
                why = "an answer without its question"
                lone.append(_dropped(page, (), span.pieces, match, why, span.scope, text))
    return lone


def _pair(page: Page, match: Match, by: str, text: str) -> Pair:
    return Pair(
        id=_id(page, match.question, match.answer),
        document=page.document,
        source=page.source,
        file=page.file,
        page=match.page,
        label=match.label,
        question=pieces_of(text, match.question),
        answer=pieces_of(text, match.answer),
        question_pieces=match.question,
        answer_pieces=match.answer,
        by=by,
    )


def _dropped(
    page: Page,
    question: tuple[int, ...],
    answer: tuple[int, ...],
    match: Match,
    reason: str,
    why: str,
    text: str,
) -> Dropped:
    return Dropped(
        stage=STAGE,
        reason=reason,
        evidence=f"{match.label}: {why}",
        source=page.source,
        file=page.file,
        page=match.page,
        id=_id(page, question, answer),
        question=pieces_of(text, question),
        answer=pieces_of(text, answer),
    )


def _id(page: Page, question: Sequence[int], answer: Sequence[int]) -> str:
    state = f"{page.document} {list(question)} {list(answer)}"
    return hashlib.sha256(state.encode()).hexdigest()[:16]
