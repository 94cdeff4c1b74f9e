"""How many documents, bytes and tokens came through each stage of each source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from munro.base_model.data.documents import Counts

HEADINGS = ("source", "stage", "documents", "kept", "MB", "left out, by reason")
MOST_REASONS = 3
"""Reasons of a stage that the table names; the JSON has all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What came out of one stage."""

    stage: str
    documents: int
    size_bytes: int
    dropped: dict[str, int] = field(default_factory=dict)
    """By reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFunnel:
    """One source from its files to its shards."""

    source: str
    levels: tuple[Level, ...]
    num_documents: int
    """In the shards, where a repository may be one document."""
    num_tokens: int
    num_learned: int

    def as_json(self) -> dict[str, Any]:
        """For `funnel.json`."""
        return {
            "source": self.source,
            "stages": [
                {
                    "stage": level.stage,
                    "documents": level.documents,
                    "size_bytes": level.size_bytes,
                    "dropped": level.dropped,
                }
                for level in self.levels
            ],
            "shards": {
                "documents": self.num_documents,
                "tokens": self.num_tokens,
                "learned_tokens": self.num_learned,
            },
        }

    @classmethod
    def of_json(cls, raw: dict[str, Any]) -> SourceFunnel:
        """Back from `funnel.json`."""
        return cls(
            source=raw["source"],
            levels=tuple(Level(**level) for level in raw["stages"]),
            num_documents=raw["shards"]["documents"],
            num_tokens=raw["shards"]["tokens"],
            num_learned=raw["shards"]["learned_tokens"],
        )


def levels_of(counts: Counts, stages: Sequence[str]) -> tuple[Level, ...]:
    """The stages of a source in order, from summed counts."""
    reasons: dict[str, Counter[str]] = {}
    for name, number in counts.dropped.items():
        stage, _, reason = name.partition("/")
        if number:
            reasons.setdefault(stage, Counter())[reason] += number
    return tuple(
        Level(
            stage=stage,
            documents=counts.documents[stage],
            size_bytes=counts.size_bytes[stage],
            dropped=dict(sorted(reasons.get(stage, {}).items())),
        )
        for stage in stages
    )


def table(funnels: Sequence[SourceFunnel]) -> str:
    """The funnel as a person reads it."""
    rows = [list(HEADINGS)]
    for funnel in funnels:
        first = max(funnel.levels[0].documents, 1) if funnel.levels else 1
        for level in funnel.levels:
            name = funnel.source if level is funnel.levels[0] else ""
            kept = f"{100 * level.documents / first:.1f}%"
            rows.append(
                [
                    name,
                    level.stage,
                    f"{level.documents:,}",
                    kept,
                    f"{level.size_bytes / 1e6:,.2f}",
                    _reasons(level),
                ]
            )
        rows.append(
            ["", "shards", f"{funnel.num_documents:,}", "", "", f"{funnel.num_tokens:,} tokens"]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = [_line(row, widths) for row in rows]
    total = sum(funnel.num_tokens for funnel in funnels)
    learned = sum(funnel.num_learned for funnel in funnels)
    masked = "" if learned == total else f", of which {learned:,} to be learned"
    return "\n".join([*lines, f"{total:,} tokens in all{masked}"])


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        cell.ljust(width) if column < 2 else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row[:5], widths, strict=True))
    ]
    return "  ".join([*cells, row[5]]).rstrip()


def _reasons(level: Level) -> str:
    ordered = sorted(level.dropped.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{number:,} {reason}" for reason, number in ordered[:MOST_REASONS]]
    rest = sum(number for _, number in ordered[MOST_REASONS:])
    return ", ".join([*shown, f"{rest:,} others"] if rest else shown)
