"""How hard a question is, and whether its answer is to be believed.

rows ──► attempts by each tier ──► votes: pass rates, bracket ──► the strongest tier rarely passes,
                                                                  and agrees on another answer?
                                                                    │
         kept ◄── stored, neither, undecided ◄── blind judge ◄──────┤
         dropped ◄── consensus ◄──────────────────────┘
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from munro.questions.answers import warnings
from munro.questions.answers.attempts import Attempts, Trying, cache_in, tier_of
from munro.questions.answers.blind import TASK, Choice, Doubt, blindly
from munro.questions.answers.config import ScoreConfig, TierConfig
from munro.questions.answers.equality import Equality
from munro.questions.answers.tiers.served import Served
from munro.questions.answers.votes import Tally, is_gone, missing, tallies
from munro.questions.errors import QuestionsError
from munro.questions.rows import rows_of, text_in
from munro.questions.stages import Build, OnProgress, Outcome, Unit, digest_of
from munro.rewards.errors import GraderError
from munro.rewards.judge.access import Access
from munro.rewards.serving.server import fingerprint

ATTEMPTS, VOTES, BLIND = "attempts", "votes", "blind"
"""The stages."""
AT_ONCE = 32
"""Questions of a unit: what a kill can cost, but for what the cache remembers."""
EASY = 0.5
JUDGED = ("proof", "words")
"""Values of `type` whose answers no rule compares: tiers are not tried on them."""
OURS = ("pass_rates", "bracket", "unrated", "doubt", "consensus", "votes")
"""Columns that scoring adds; those of an earlier scoring are replaced."""
MANNER = ("api_key_env", "concurrency", "timeout_s", "retries", "backoff_s")
"""Keys of a tier that change nothing of what it says."""
JUDGES = (
    *("model", "base_url", "structured_output", "temperature", "max_tokens", "max_notes_chars"),
    *("max_response_chars", "max_conversation_chars", "extra", "template_args", "samples", "seed"),
)
"""Keys of a judge that change what it says."""


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
    rates: dict[str, float] = field(default_factory=dict)
    unrated: dict[str, str] = field(default_factory=dict)
    """By tier: why it has no pass rate."""
    bracket: str = "unrated"
    other: str = ""
    """What the strongest tier agrees on, where that puts the stored answer in doubt."""
    votes: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The questions of a file, by their place in it."""

    rows: Mapping[str, dict[str, Any]]
    asked: Sequence[tuple[str, str, str]]
    """(place, question, stored answer) of those that tiers are tried on"""


def score(
    file: Path,
    out: str,
    config: ScoreConfig,
    *,
    question: str = "question",
    answer: str = "answer",
    on_progress: OnProgress | None = None,
) -> Scored:
    """Leave `questions.jsonl` and `dropped.jsonl` in a folder; the same call resumes.

    Args:
        file: .jsonl or .parquet; rows whose `type` is in `JUDGED` stay unrated.
        out: folder to write.
        config: who tries, who judges, and when.
        question: column of the question, a text or a conversation that ends in it.
        answer: column of the stored answer.
        on_progress: told one line now and then.

    Raises:
        QuestionsError: a row has no question or answer, or a tier answers nothing.
        GraderError: the judge gave no verdict.
    """
    with _sentences(out):
        return _scored(rows_to_score(file, question, answer), out, config, on_progress)


def _scored(
    questions: Rows, out: str, config: ScoreConfig, on_progress: OnProgress | None
) -> Scored:
    for tier in config.tiers:
        tier_of(tier)  # keys and checkpoints are looked for before anything is paid for
    judge = _opened(config)
    with ExitStack() as held:
        if judge is not None:
            held.callback(judge.close)
        to = held.enter_context(Build(out, on_progress=on_progress))
        attempts = _attempts(to, questions, config)
        votes = _votes(to, questions, attempts, config, judge)
        done = {place: _unasked(row, config) for place, row in questions.rows.items()}
        for place, _, _ in questions.asked:
            done[place] = _one(questions.rows[place], attempts[place], votes[place], config)
        choices = _blind(to, questions, done, config, judge)
        scored = _left(to.out, done, choices)
        stored = {place: answer for place, _, answer in questions.asked}
        scored.warnings = warnings.of_scores(config, stored, attempts, votes)
        scored.warnings += warnings.of_judge(choices.values())
        return scored


@contextmanager
def _sentences(out: str) -> Iterator[None]:
    """What the operating system refuses, in one line."""
    try:
        yield
    except OSError as error:
        raise QuestionsError(
            f"{error.filename or out}: {error.strerror or error}. Mend that (a full disk, a "
            "missing permission, a file where a folder is wanted); then the same command goes on."
        ) from error


def rows_to_score(file: Path, question: str, answer: str) -> Rows:
    """The rows of a file, and what is asked of tiers.

    Raises:
        QuestionsError: a row has no question or answer, or there is none.
    """
    rows, asked = {}, []
    for place, row in rows_of(file):
        told = row if isinstance(row, dict) else {}
        asks, stored = text_in(told.get(question)), text_in(told.get(answer))
        if not asks.strip() or not stored.strip():
            held = ", ".join(map(str, list(told)[:8])) or "none"
            raise QuestionsError(
                f"{place} has no question or no answer in the columns {question!r} and {answer!r}: "
                f"it has {held}. Name the columns by --question and --answer."
            )
        is_scored = "pass_rates" in row and "bracket" in row
        rows[place] = {k: v for k, v in row.items() if k not in OURS} if is_scored else row
        if row.get("type") not in JUDGED:
            asked.append((place, asks, stored))
    if not rows:
        raise QuestionsError(f"{file} has no rows: there is nothing to score.")
    return Rows(rows=rows, asked=asked)


def _opened(config: ScoreConfig) -> Access | None:
    if config.judge is None:
        return None
    try:
        return Access(config.judge, "judge")
    except ValueError as error:
        raise QuestionsError(str(error)) from error


def _attempts(to: Build, questions: Rows, config: ScoreConfig) -> dict[str, dict[str, Attempts]]:
    """By place, by tier: the weakest first. What failed in an earlier run is tried again."""
    count = config.scoring.attempts
    texts = [(place, question) for place, question, _ in questions.asked]
    state = [[_identity(tier) for tier in config.tiers], count, digest_of(texts)]
    before = list(to.rows(ATTEMPTS, Attempts)) if to.is_done(ATTEMPTS, state) else []
    known: dict[str, dict[str, Attempts]] = {tier.name: {} for tier in config.tiers}
    for one in before:
        known[one.tier][one.id] = one
    with ExitStack() as held:
        cache = cache_in(config.cache)
        if cache is not None:
            held.callback(cache.close)
        trying: list[Trying] = []

        def tried(tier: TierConfig, some: Sequence[tuple[str, str]]) -> Outcome:
            if not trying or trying[-1].name != tier.name:
                for last in trying:  # one model at a time, for it may fill the machine
                    last.close()
                trying.append(held.enter_context(Trying(tier, tier_of(tier), cache)))
            return Outcome(kept=trying[-1].attempts(some, count, known[tier.name]))

        def units() -> list[Unit]:
            return [
                Unit(
                    name=f"{number:02}-{at:06}", work=partial(tried, tier, texts[at : at + AT_ONCE])
                )
                for number, tier in enumerate(config.tiers)
                for at in range(0, len(texts), AT_ONCE)
            ]

        failed = any(one.failed for one in before)
        to.run(ATTEMPTS, Attempts, state, units, anew=failed)
    made: dict[str, dict[str, Attempts]] = {place: {} for place, _, _ in questions.asked}
    for one in to.rows(ATTEMPTS, Attempts):
        made[one.id][one.tier] = one
    return made


def _votes(
    to: Build,
    questions: Rows,
    attempts: Mapping[str, Mapping[str, Attempts]],
    config: ScoreConfig,
    judge: Access | None,
) -> dict[str, dict[str, Tally]]:
    """By place, by tier. What a judge failed at in an earlier run is asked again."""
    made = digest_of(
        [[one.answers, len(one.failed)] for some in attempts.values() for one in some.values()]
    )
    scoring = config.scoring
    state = [scoring.model_dump(mode="json"), _judge_of(config), digest_of(questions.asked), made]
    samples = config.judge.samples if config.judge else 1
    at_once = config.judge.concurrency if config.judge else 1
    with Equality(judge, samples) as equality:

        def counted(some: Sequence[tuple[str, str, str]]) -> Outcome:
            found = tallies(some, attempts, scoring, equality, at_once)
            equality.forget()
            return Outcome(kept=found)

        _run(to, VOTES, Tally, state, counted, questions.asked)
    votes: dict[str, dict[str, Tally]] = {place: {} for place, _, _ in questions.asked}
    for one in to.rows(VOTES, Tally):
        votes[one.id][one.tier] = one
    return votes


def _blind(
    to: Build,
    questions: Rows,
    done: Mapping[str, _One],
    config: ScoreConfig,
    judge: Access | None,
) -> dict[str, Choice]:
    """By place: what the judge says of each doubt, where there is one."""
    if judge is None or config.judge is None:
        return {}
    doubts = [
        Doubt(id=place, question=question, stored=answer, consensus=done[place].other)
        for place, question, answer in questions.asked
        if done[place].other
    ]
    samples, judged = config.judge.samples, 0

    def judged_of(some: Sequence[Doubt]) -> Outcome:
        nonlocal judged
        choices = blindly(judge, some, samples)
        failed = [choice for choice in choices if choice.failed]
        if is_gone(len(choices), len(failed), has_answered=judged > 0):
            raise GraderError(failed[0].failed)
        judged += len(choices) - len(failed)
        return Outcome(kept=choices)

    asked = digest_of([[one.id, one.question, one.stored, one.consensus] for one in doubts])
    _run(to, BLIND, Choice, [_judge_of(config), TASK, asked], judged_of, doubts)
    return {one.id: one for one in to.rows(BLIND, Choice)}


def _run(
    to: Build,
    stage: str,
    record: type[Any],
    state: Any,
    work: Callable[[Sequence[Any]], Outcome],
    items: Sequence[Any],
) -> None:
    """A stage in units of some items; one of whose rows a judge failed at is done anew."""

    def units() -> list[Unit]:
        return [
            Unit(name=f"{at:06}", work=partial(work, items[at : at + AT_ONCE]))
            for at in range(0, len(items), AT_ONCE)
        ]

    anew = to.is_done(stage, state) and any(one.failed for one in to.rows(stage, record))
    to.run(stage, record, state, units, anew=anew)


def _identity(tier: TierConfig) -> Any:
    """All of a tier that what it says depends on."""
    if not tier.base_url:
        return [tier.name, Served(tier).identity, tier.prompt, tier.final]
    return tier.model_dump(mode="json", exclude={*MANNER, "serve"})


def _judge_of(config: ScoreConfig) -> Any:
    """All of the judge that what it says depends on."""
    judge = config.judge
    if judge is None:
        return None
    served = "" if judge.base_url else fingerprint(Path(judge.model).expanduser())
    return [judge.model_dump(mode="json", include=set(JUDGES)), served]


def _unasked(row: dict[str, Any], config: ScoreConfig) -> _One:
    """A question whose answer only a judge can compare: it stays as it is."""
    why = f"no rule compares an answer of type {row.get('type')!r}"
    return _One(row=row, unrated={tier.name: why for tier in config.tiers})


def _one(
    row: dict[str, Any],
    attempts: Mapping[str, Attempts],
    votes: Mapping[str, Tally],
    config: ScoreConfig,
) -> _One:
    one, scoring = _One(row=row), config.scoring
    for tier in config.tiers:
        made, tally = attempts[tier.name], votes[tier.name]
        if why := missing(made, tally, scoring.attempts):
            one.unrated[tier.name] = why
        else:
            one.rates[tier.name] = sum(tally.passed) / scoring.attempts
    weakest, strongest = config.tiers[0].name, config.tiers[-1].name
    if strongest not in one.rates:
        return one
    if one.rates[strongest] <= scoring.low:
        one.bracket = "hard"
        tally = votes[strongest]
        if tally.other:
            one.other, one.votes = tally.other, f"{tally.votes} of {scoring.attempts}"
    elif weakest in one.rates:
        one.bracket = "easy" if one.rates[weakest] >= EASY else "medium"
    return one


def _left(out: Path, done: Mapping[str, _One], choices: Mapping[str, Choice]) -> Scored:
    scored, kept, dropped = Scored(), [], []
    for place, one in done.items():
        row = one.row | {"pass_rates": one.rates, "bracket": one.bracket}
        if one.unrated:
            row["unrated"] = one.unrated
        if one.other:
            said = choices[place].right if place in choices else "not judged"
            scored.doubts[said] += 1
            doubt = {"doubt": said, "consensus": one.other, "votes": one.votes}
            if said == "consensus":
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


def _write(file: Path, rows: Iterable[dict[str, Any]]) -> None:
    draft = file.with_name(f".{file.name}.draft")
    # half of a surrogate pair is no text, but may be escaped in JSON
    with draft.open("w", encoding="utf-8", errors="backslashreplace") as lines:
        for row in rows:
            lines.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
    os.replace(draft, file)
