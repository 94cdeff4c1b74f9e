"""How hard a question is, and whether its answer is to be believed.

rows ──► attempts by each tier ──► pass rates, bracket ──► the strongest tier rarely passes, and
                                                           agrees on another answer?
                                                                    │
         kept ◄── stored, neither, undecided ◄── blind judge ◄──────┤
         dropped ◄── consensus ◄──────────────────────┘
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from munro.questions.answers.attempts import Attempts, attempted, key_of
from munro.questions.answers.blind import Choice, blindly
from munro.questions.answers.classes import consensus, equal
from munro.questions.answers.config import ScoreConfig
from munro.questions.errors import QuestionsError
from munro.questions.rows import rows_of, text_in
from munro.questions.stages import Build, OnProgress, Outcome, Unit, digest_of
from munro.rewards.judge.access import Access

STAGE = "attempts"
AT_ONCE = 32
"""Questions of a unit: what a kill can cost, but for what the cache remembers."""
EASY = 0.5
MOST_ALIKE, LEAST_ASKED = 0.3, 20
"""A tier that gives one answer to more than this share of so many questions says nothing."""


@dataclass(slots=True, kw_only=True)
class Scored:
    """What became of a file."""

    brackets: Counter[str] = field(default_factory=Counter)
    doubts: Counter[str] = field(default_factory=Counter)
    """By what the judge said."""
    dropped: int = 0
    warnings: list[str] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class _One:
    """A question with what the tiers made of it."""

    row: dict[str, Any]
    question: str
    answer: str
    rates: dict[str, float] = field(default_factory=dict)
    bracket: str = "unrated"
    other: str = ""
    """What the strongest tier agrees on, where that puts the stored answer in doubt."""
    votes: str = ""


def score(
    file: Path, out: str, config: ScoreConfig, *, on_progress: OnProgress | None = None
) -> Scored:
    """Leave `questions.jsonl` and `dropped.jsonl` in a folder; the same call resumes.

    Raises:
        QuestionsError: a row has no question or answer, or a tier answers nothing.
        GraderError: the judge gave no verdict.
    """
    rows = _rows(file)
    asked = [(place, question, answer) for place, (_, question, answer) in rows.items()]
    count = config.scoring.attempts
    judge = _opened(config)
    with ExitStack() as held:
        if judge is not None:
            held.callback(judge.close)
        to = held.enter_context(Build(out, on_progress=on_progress))

        def tried(some: Sequence[tuple[str, str, str]]) -> Outcome:
            made = (attempted(some, tier, count, config.cache) for tier in config.tiers)
            return Outcome(kept=[one for group in made for one in group])

        def units() -> list[Unit]:
            cut = [asked[at : at + AT_ONCE] for at in range(0, len(asked), AT_ONCE)]
            return [Unit(name=f"{at:06}", work=partial(tried, some)) for at, some in enumerate(cut)]

        tiers = [tier.model_dump(mode="json", exclude=set(_MANNER)) for tier in config.tiers]
        to.run(STAGE, Attempts, [tiers, count, digest_of(asked)], units)
        attempts: dict[str, dict[str, Attempts]] = {place: {} for place in rows}
        for one in to.rows(STAGE, Attempts):
            attempts[one.id][one.tier] = one
        done = [_one(rows[place], made, config) for place, made in attempts.items()]
        scored = _left(to.out, done, _judged(done, judge))
        scored.warnings = _warnings(config, attempts)
        return scored


_MANNER = ("api_key_env", "concurrency", "timeout_s", "retries", "base_url")
"""Keys of a tier that change nothing of what it says."""


def _rows(file: Path) -> dict[str, tuple[dict[str, Any], str, str]]:
    found = {}
    for place, row in rows_of(file):
        question = text_in(row.get("question")) if isinstance(row, dict) else ""
        answer = text_in(row.get("answer")) if isinstance(row, dict) else ""
        if not question.strip() or not answer.strip():
            raise QuestionsError(f"{place} has no question or no answer: both are texts of a row.")
        found[place] = (row, question, answer)
    return found


def _one(
    row: tuple[dict[str, Any], str, str], made: dict[str, Attempts], config: ScoreConfig
) -> _One:
    one = _One(row=row[0], question=row[1], answer=row[2])
    scoring = config.scoring
    for tier in config.tiers:
        attempt = made[tier.name]
        if len(attempt.passed) == scoring.attempts:
            one.rates[tier.name] = sum(attempt.passed) / scoring.attempts
    weakest, strongest = config.tiers[0].name, config.tiers[-1].name
    if strongest not in one.rates:
        return one
    if one.rates[strongest] <= scoring.low:
        one.bracket = "hard"
        found = consensus(made[strongest].answers)
        agreed = found.answer and found.votes >= scoring.agree * scoring.attempts
        if agreed and not equal(found.answer, one.answer):
            one.other, one.votes = found.answer, f"{found.votes} of {found.attempts}"
    else:
        one.bracket = "easy" if one.rates.get(weakest, 0.0) >= EASY else "medium"
    return one


def _opened(config: ScoreConfig) -> Access | None:
    """The way to the judge, and whether all keys are set: before anything is paid for."""
    for tier in config.tiers:
        key_of(tier)
    if config.judge is None:
        return None
    try:
        return Access(config.judge, "judge")
    except ValueError as error:
        raise QuestionsError(str(error)) from error


def _judged(done: Sequence[_One], judge: Access | None) -> list[Choice | None]:
    """What the judge says of each doubt, None where there is none or nobody to ask."""
    doubts = [one for one in done if one.other]
    if not doubts or judge is None:
        return [None] * len(done)
    said = iter(blindly(judge, [(one.question, one.answer, one.other) for one in doubts]))
    return [next(said) if one.other else None for one in done]


def _left(out: Path, done: Sequence[_One], choices: Sequence[Choice | None]) -> Scored:
    scored, kept, dropped = Scored(), [], []
    for one, choice in zip(done, choices, strict=True):
        row = one.row | {"pass_rates": one.rates, "bracket": one.bracket}
        if one.other:
            said = choice or "not judged"
            scored.doubts[said] += 1
            doubt = {"doubt": said, "consensus": one.other, "votes": one.votes}
            if choice == "consensus":
                reason = {"reason": "its answer is wrong, says the blind judge"}
                dropped.append(reason | doubt | {"row": row})
                continue
            row |= doubt
        scored.brackets[one.bracket] += 1
        kept.append(row)
    scored.dropped = len(dropped)
    _write(out / "questions.jsonl", kept)
    _write(out / "dropped.jsonl", dropped)
    return scored


def _warnings(config: ScoreConfig, attempts: dict[str, dict[str, Attempts]]) -> list[str]:
    """What makes the figures mean less than they seem to."""
    found = []
    strongest = config.tiers[-1]
    if config.judge is not None and config.judge.model == strongest.model:
        found.append(
            f"the judge and the strongest tier are one model, {strongest.model}: it judges its own "
            "answers. Name another judge."
        )
    for tier in config.tiers:
        firsts = [
            consensus(made[tier.name].answers, same=_text).answer for made in attempts.values()
        ]
        common = Counter(answer for answer in firsts if answer).most_common(1)
        if common and len(firsts) >= LEAST_ASKED and common[0][1] > MOST_ALIKE * len(firsts):
            answer, number = common[0]
            found.append(
                f"tier {tier.name} agrees on {answer!r} for {number:,} of {len(firsts):,} "
                "questions: its consensus says nothing."
            )
    short = sum(
        len(made[tier.name].passed) < config.scoring.attempts
        for made in attempts.values()
        for tier in config.tiers
    )
    if short:
        found.append(
            f"{short:,} pass rates are missing: attempts failed, or no answer to grade by."
        )
    return found


def _text(one: str, other: str) -> bool:
    return one.strip() == other.strip()


def _write(file: Path, rows: Iterable[dict[str, Any]]) -> None:
    draft = file.with_name(f".{file.name}.draft")
    # half of a surrogate pair is no text, but may be escaped in JSON
    with draft.open("w", encoding="utf-8", errors="backslashreplace") as lines:
        for row in rows:
            lines.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
    os.replace(draft, file)
