"""How much each stage kept, and why it left the rest out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from munro.questions import tables
from munro.questions.stages import Build

NOUNS = {
    "Page": "pages",
    "Line": "lines",
    "Span": "spans",
    "Pair": "pairs",
    "Question": "questions",
}
MOST_REASONS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One stage.

    Example:
        Level(stage="curate", kept=412, noun="questions", dropped={"personal": 3})
    """

    stage: str
    kept: int
    noun: str
    dropped: dict[str, int]
    """How many by reason, the commonest first."""


def levels_of(build: Build, stages: Mapping[str, type[Any]]) -> list[Level]:
    """The stages that were done, in order."""
    levels = []
    for stage, record in stages.items():
        reasons = Counter(one.reason for one in build.dropped(stage))
        levels.append(
            Level(
                stage=stage,
                kept=tables.num_rows(build.file(stage)),
                noun=NOUNS[record.__name__],
                dropped=dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
            )
        )
    return levels


def table(levels: Sequence[Level]) -> str:
    """The funnel as a person reads it."""
    rows = [("stage", "kept", "", "left out")]
    for level in levels:
        shown = list(level.dropped.items())[:MOST_REASONS]
        rest = sum(level.dropped.values()) - sum(number for _, number in shown)
        reasons = [f"{number:,} {reason}" for reason, number in shown]
        reasons += [f"{rest:,} others"] if rest else []
        rows.append((level.stage, f"{level.kept:,}", level.noun, ", ".join(reasons)))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}} {row[2]:<{widths[2]}}  {row[3]}".rstrip()
        for row in rows
    )
