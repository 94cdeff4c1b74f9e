"""What makes scores mean less than they seem to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from munro.questions.answers.attempts import Attempts
from munro.questions.answers.blind import Choice
from munro.questions.answers.classes import equal
from munro.questions.answers.config import ScoreConfig, TierConfig
from munro.questions.answers.votes import Tally, missing
from munro.rewards.judge.config import JudgeConfig

MOST_ALIKE, LEAST_ASKED = 0.3, 20
"""A tier that gives one answer to so many more of that many questions than have it says nothing."""
LOOKED_AT = 20
"""Commonest answers of a tier that are put together where they are one in several notations."""


def of_config(config: ScoreConfig) -> list[str]:
    """Known before anything is asked."""
    strongest = config.tiers[-1]
    if config.judge is None or not _is_one(strongest, config.judge):
        return []
    return [
        f"the judge and the strongest tier are one model, {strongest.model}: it judges its own "
        "answers. Name another judge."
    ]


def of_scores(
    config: ScoreConfig,
    stored: Mapping[str, str],
    attempts: Mapping[str, Mapping[str, Attempts]],
    tallies: Mapping[str, Mapping[str, Tally]],
) -> list[str]:
    """Known from what came of it.

    Args:
        config: who tried, how often.
        stored: answers by id of the question.
        attempts: by id, by name of the tier.
        tallies: the same.
    """
    found = []
    for tier in config.tiers:
        of_tier = {name: some[tier.name] for name, some in tallies.items()}
        found += _alike(tier.name, of_tier, stored)
        found += _missing(config, tier, {n: some[tier.name] for n, some in attempts.items()})
    unread = sum(any(one.ungraded for one in some.values()) for some in tallies.values())
    if unread:
        found.append(
            f"{unread:,} stored answers are none that rules can read: nothing can be graded by "
            "them, and these rows are unrated. A judge would settle them."
        )
    failed = [one.failed for some in tallies.values() for one in some.values() if one.failed]
    if failed:
        found.append(
            f"the judge gave no verdict on the answers of {len(failed):,} questions ({failed[0]}): "
            "they are unrated; the same command asks again."
        )
    return found


def of_judge(choices: Iterable[Choice]) -> list[str]:
    """What a judge failed at."""
    failed = [choice.failed for choice in choices if choice.failed]
    if not failed:
        return []
    return [
        f"the judge gave no verdict on {len(failed):,} doubts ({failed[0]}): these rows are kept; "
        "the same command asks again."
    ]


def _alike(tier: str, tallies: Mapping[str, Tally], stored: Mapping[str, str]) -> list[str]:
    """A tier that says the same to many questions whose answers differ."""
    agreed = Counter(one.answer for one in tallies.values() if one.answer)
    if len(tallies) < LEAST_ASKED:
        return []
    common = agreed.most_common(LOOKED_AT)
    for answer, _ in common:
        number = sum(count for other, count in common if other == answer or equal(other, answer))
        if number <= MOST_ALIKE * len(tallies):
            continue
        texts = Counter(stored[name].strip() for name in tallies)
        common_ones = {text for text, _ in texts.most_common(LOOKED_AT)}
        right = sum(
            count
            for text, count in texts.items()
            if text == answer or (text in common_ones and equal(answer, text))
        )
        if number - right > MOST_ALIKE * len(tallies):
            return [
                f"tier {tier} agrees on {answer!r} for {number:,} of {len(tallies):,} questions, "
                f"of which {right:,} have that answer: its consensus says nothing."
            ]
    return []


def _missing(
    config: ScoreConfig, tier: TierConfig, attempts: Mapping[str, Attempts]
) -> Sequence[str]:
    count, nothing = config.scoring.attempts, Tally(id="", tier=tier.name)
    failed = [one for one in attempts.values() if one.failed]
    found = []
    if failed:
        number = sum(len(one.failed) for one in failed)
        found.append(
            f"{number:,} attempts of tier {tier.name} failed, however often they were made "
            f"({failed[0].failed[0]}): {len(failed):,} questions have no pass rate of it; the same "
            "command tries them again."
        )
    short = [one for one in attempts.values() if not one.failed and missing(one, nothing, count)]
    if short:
        found.append(
            f"tier {tier.name} made fewer than {count} attempts at {len(short):,} questions, "
            "though none failed: they have no pass rate of it."
        )
    return found


def _is_one(tier: TierConfig, judge: JudgeConfig) -> bool:
    """Whether two names are of one model, as far as names tell."""
    if not tier.base_url and not judge.base_url:
        return _real(tier.model) == _real(judge.model)
    if not tier.base_url or not judge.base_url:
        return False
    return _short(tier.model) == _short(judge.model)


def _real(model: str) -> Path:
    return Path(model).expanduser().resolve()


def _short(name: str) -> str:
    """ "openai/Gpt-5" -> "gpt-5", as one service or another calls it."""
    return name.rstrip("/").rpartition("/")[2].casefold()
