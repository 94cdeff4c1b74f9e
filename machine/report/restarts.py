"""A climb's distillations on its page: a star each, colours by base, a sentence each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from munro.machine.run.restarts import Restart

TONES = "acdeg"
"""Of bases; what is held out has another."""

Line = Mapping[str, Any]


def segments(restarts: Sequence[Restart], model: str) -> list[dict[str, Any]]:
    """Pieces of the pass-rate curve: the step after which each begins, its base and its colour.

    Empty where the climb never restarted. Bases are named by their folders, in full where two have
    the same name.

    Args:
        restarts: oldest first.
        model: what the climb began from.
    """
    if not restarts:
        return []
    bases = [model, *(made.base for made in restarts)]
    different = list(dict.fromkeys(bases))
    short = {base: Path(base).name for base in different}
    clash = len(set(short.values())) < len(different)
    starts = [-1, *(made.step for made in restarts)]
    return [
        {
            "after": after,
            "base": "" if len(different) == 1 else base if clash else short[base],
            "tone": TONES[different.index(base) % len(TONES)],
        }
        for after, base in zip(starts, bases, strict=True)
    ]


def sentences(restarts: Sequence[Restart], lines: Sequence[Line]) -> list[str]:
    """What each distillation was, and what the policy could do before and after it."""
    by_step = {line["step"]: line for line in lines}
    return [_sentence(made, by_step) for made in restarts]


def _sentence(made: Restart, by_step: Mapping[int, Line]) -> str:
    before, after = by_step.get(made.step, {}), by_step.get(made.step + 1, {})
    told = [
        f"★ step {made.step:,} ({made.cause}): traces of steps {made.first_step:,} to "
        f"{made.last_step:,}{', from before it' if made.is_collapse else ''}, onto {made.base}"
    ]
    for name, was, now in (
        ("held-out pass rate", before.get("eval/pass_rate"), after.get("restart/pass_rate")),
        ("training pass rate", before.get("pass_rate/sampled"), after.get("pass_rate/sampled")),
        ("entropy", before.get("policy/entropy"), after.get("policy/entropy")),
    ):
        if was is not None and now is not None:
            told.append(f"{name} {was:.2f} → {now:.2f}")
    return "; ".join(told) + "."
