"""What following some of several instructions is worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from munro.rewards.instructions.checkers import Checker
from munro.rewards.types import Grade

Score = Literal["all", "share"]
"""Pay only all of it, or the share."""
Mode = Literal["strict", "loose"]
MOST_NAMED = 5
"""Of what was missed, in a reason."""


def check_options(score: str, mode: str) -> None:
    """Refuse what is neither.

    Raises:
        ValueError: one sentence that names the option.
    """
    if mode not in get_args(Mode):
        raise ValueError(f"mode = {mode!r}: give 'strict' or 'loose'.")
    if score not in get_args(Score):
        raise ValueError(f"score = {score!r}: give 'all' or 'share'.")


def graded(wanted: Sequence[Checker], response: str, *, score: str, mode: str = "strict") -> Grade:
    """Check each; passed where all are followed.

    Args:
        wanted: at least one.
        response: any text.
        score: "all" or "share".
        mode: "strict", or "loose" as IFEval has it.

    Returns:
        A grade whose `parts` has each instruction by its name, with its number where the name
        stands there twice.
    """
    parts: dict[str, float] = {}
    for number, each in enumerate(wanted, 1):
        name = each.name if each.name not in parts else f"{each.name}#{number}"
        parts[name] = float(each.follows(response, loose=mode == "loose"))
    missed = [name for name, followed in parts.items() if not followed]
    share = sum(parts.values()) / len(parts)
    return Grade(
        reward=float(not missed) if score == "all" else share,
        passed=not missed,
        parts=parts,
        reason=f"does not follow {', '.join(missed[:MOST_NAMED])}" if missed else "",
    )
