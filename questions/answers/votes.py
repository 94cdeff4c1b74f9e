"""What the attempts at a question say: passed or not, what a tier agrees on, what is in doubt.

answers of a tier ──► passed, one by one, against the stored answer
                 └──► classes ──► what it agrees on
the strongest tier passes at most `low`, and `agree` of it come to one other answer: in doubt
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from munro.questions.answers.attempts import Attempts
from munro.questions.answers.classes import bare, consensus
from munro.questions.answers.config import ScoringConfig
from munro.questions.answers.equality import Equality
from munro.rewards.errors import GraderError
from munro.rewards.math import BadReference

LEAST_GONE = 4
"""Questions in a row without a verdict after which a judge that had answered is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What a tier's attempts at a question come to. A row of the stage `votes`.

    Example:
        Tally(id="rows.jsonl:1", tier="large", passed=(0, 0, 1), answer="6", votes=2, other="6")
    """

    id: str
    tier: str
    passed: tuple[int, ...] = ()
    """1 for each attempt that came to the stored answer; empty where none could be graded."""
    answer: str = ""
    """What the tier agrees on by rules alone, whatever it is; empty for nothing."""
    other: str = ""
    """What the strongest tier agrees on, where that puts the stored answer in doubt."""
    votes: int = 0
    """For `other`."""
    ungraded: str = ""
    """Why none could be graded: the stored answer is not one that rules can read."""
    failed: str = ""
    """Why grading failed, which says nothing about the question."""


def missing(made: Attempts, tally: Tally, count: int) -> str:
    """Why a tier has no pass rate on a question; empty where it has."""
    if made.failed:
        return f"{len(made.failed)} of {count} attempts failed: {made.failed[0]}"
    if len(made.answers) < count:
        return f"only {len(made.answers)} of {count} attempts were made"
    return tally.failed or tally.ungraded


def tallies(
    questions: Sequence[tuple[str, str, str]],
    made: Mapping[str, Mapping[str, Attempts]],
    scoring: ScoringConfig,
    equality: Equality,
    at_once: int,
) -> list[Tally]:
    """Those of all tiers for (id, question, stored answer).

    Args:
        questions: in their order.
        made: attempts by id, by tier, the weakest first.
        scoring: when an answer is in doubt.
        equality: compares answers.
        at_once: questions that may wait for a judge together.

    Raises:
        GraderError: a judge gave no verdict on any pair, or answers could not be compared.
    """
    before = (equality.asked, equality.failed)

    def one(question: tuple[str, str, str]) -> list[Tally]:
        attempts = list(made[question[0]].values())
        return [
            _tally(question, each, scoring, equality, is_strongest=each is attempts[-1])
            for each in attempts
        ]

    if at_once > 1:
        with ThreadPoolExecutor(at_once, "questions-votes") as threads:
            done = list(threads.map(one, questions))
    else:
        done = [one(question) for question in questions]
    found = [tally for some in done for tally in some]
    asked, failed = equality.asked - before[0], equality.failed - before[1]
    if is_gone(asked, failed, has_answered=equality.asked > equality.failed):
        raise GraderError(next(tally.failed for tally in found if tally.failed))
    return found


def is_gone(asked: int, failed: int, *, has_answered: bool) -> bool:
    """Whether a judge that failed is not to be had, rather than at a loss about one pair."""
    return bool(asked) and failed == asked and (failed >= LEAST_GONE or not has_answered)


def _tally(
    question: tuple[str, str, str],
    made: Attempts,
    scoring: ScoringConfig,
    equality: Equality,
    *,
    is_strongest: bool,
) -> Tally:
    name, text, gold = question
    base = Tally(id=name, tier=made.tier, answer=consensus(made.answers).answer)
    if made.failed or len(made.answers) < scoring.attempts:
        return base
    try:
        passed = equality.passed(text, made.answers, gold)
        other, votes = "", 0
        if is_strongest and sum(passed) <= scoring.low * len(passed):
            other, votes = _other(text, made.answers, passed, gold, scoring, equality)
    except BadReference as error:
        return replace(base, ungraded=str(error)[:300])
    except GraderError as error:
        if not equality.has_judge:
            raise
        return replace(base, failed=str(error)[:300])
    return replace(base, passed=tuple(map(int, passed)), other=other, votes=votes)


def _other(
    text: str,
    answers: Sequence[str],
    passed: Sequence[bool],
    gold: str,
    scoring: ScoringConfig,
    equality: Equality,
) -> tuple[str, int]:
    """What enough attempts agree on, where it is not the stored answer; nothing otherwise."""

    def same(one: str, other: str) -> bool:
        return equality.same(text, one, other)

    found = consensus(answers, same)
    if not found.answer or found.votes < scoring.agree * len(answers):
        return "", 0
    if any(passed[place] for place in found.members) or same(bare(gold), found.answer):
        return "", 0
    return found.answer, found.votes
