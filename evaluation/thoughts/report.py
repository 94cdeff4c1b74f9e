"""A run's thoughts over its steps: read once, told as JSON and in lines."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from munro.evaluation.statistics import Estimate
from munro.evaluation.thoughts.examples import Example, Examples, spread
from munro.evaluation.thoughts.over_steps import (
    SURE,
    Change,
    Groups,
    Tally,
    as_plain,
    changes,
    curve,
)
from munro.evaluation.thoughts.reading import read_rows, steps_of
from munro.evaluation.thoughts.types import FEATURES, Feature

ORDER = (
    "length",
    "checks_itself",
    "approaches",
    "small_cases",
    "answer_first",
    "repetition",
    "languages",
    "tested",
    "calls_before_edit",
)
"""Of ours, on the page."""
LEAST = 1e-12
"""P-values under which the tails of no distribution are known that well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thoughts:
    """What was found in a run.

    Example:
        look(Path("runs/stem/rollouts"), features_of()).changes["length"].p
    """

    steps: tuple[int, ...]
    num: int
    """Attempts that were read."""
    features: Mapping[str, Feature]
    groups: Mapping[str, Groups]
    changes: Mapping[str, Change]
    examples: Mapping[str, Sequence[Example]]
    notes: tuple[str, ...] = ()
    """About files that were cut."""

    def as_json(self) -> dict[str, Any]:
        """Every step's figure of every feature, what changed, and the examples."""
        return {
            "steps": len(self.steps),
            "attempts": self.num,
            "notes": list(self.notes),
            "features": {
                name: {
                    "title": self.features[name].title,
                    "told": self.features[name].told,
                    "is_share": self.features[name].is_share,
                    "curve": [[last, *as_plain(one)] for _, last, one in curve(groups)],
                    "change": _plain_change(self.changes.get(name)),
                    "examples": [asdict(one) for one in self.examples[name]],
                }
                for name, groups in self.groups.items()
            },
        }


def features_of(more: Mapping[str, Feature] | None = None) -> dict[str, Feature]:
    """All features that have a name, ours first; and further ones.

    Raises:
        BadPlugin: an installed one cannot be used.
    """
    names = [name for name in ORDER if name in FEATURES.names()]
    names += [name for name in FEATURES.names() if name not in ORDER]
    return {name: FEATURES.find(name)() for name in names} | dict(more or {})


def look(
    folder: Path,
    features: Mapping[str, Feature],
    *,
    seed: int = 0,
    on_progress: Callable[[int], None] | None = None,
) -> Thoughts:
    """Read a store once.

    Args:
        folder: of the rollouts.
        features: by name.
        seed: of what changes are held against.
        on_progress: told how many attempts were read.

    Raises:
        BadThoughts: there is nothing in it.
        StoreError: a file is damaged.
    """
    steps = steps_of(folder)
    tally, examples = Tally(features), Examples(features, spread(steps))
    notes: list[str] = []
    for rows in read_rows(folder, on_cut=notes.append):
        examples.add(rows, tally.add(rows))
        if on_progress is not None:
            on_progress(tally.num)
    groups = tally.groups()
    return Thoughts(
        steps=tuple(steps),
        num=tally.num,
        features={name: features[name] for name in groups},
        groups=groups,
        changes=changes(groups, seed=seed) if groups else {},
        examples={name: examples.found(name) for name in groups},
        notes=tuple(notes),
    )


def lines(found: Thoughts) -> Iterator[tuple[str, str]]:
    """What a person is told: a line a feature."""
    yield "read", f"{found.num:,} attempts of {len(found.steps):,} steps"
    for note in found.notes:
        yield "note", note
    for name in found.groups:
        title = found.features[name].title
        change = found.changes.get(name)
        yield title, told_change(change) if change else "no two ends to compare"
    if found.changes:
        yield (
            "",
            f"p-values are of {len(found.changes)} features together (Holm); the ends are the "
            "first and the last tenth of the steps",
        )


def told_change(change: Change) -> str:
    """From what to what, how sure that is, and when."""
    ends = f"{_number(change.early)} -> {_number(change.late)}"
    p = f"p = {change.p:.2g}" if change.p >= LEAST else f"p < {LEAST:g}"
    sure = p if change.p < SURE else "no change that can be told"
    when = f", most sharply at step {change.step:,}" if change.step is not None else ""
    return f"{ends}, {sure}{when}"


def _number(one: Estimate) -> str:
    if not math.isfinite(one.low):
        return f"{one.mean:.3g}"
    return f"{one.mean:.3g} [{one.low:.3g}, {one.high:.3g}]"


def _plain_change(change: Change | None) -> dict[str, Any] | None:
    if change is None:
        return None
    return {
        "early": as_plain(change.early),
        "late": as_plain(change.late),
        "difference": as_plain(change.difference),
        "p": change.p,
        "step": change.step,
        "p_step": change.p_step,
    }
