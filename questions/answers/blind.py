"""Which of two answers is right, asked of a judge who does not know where they come from.

Question, answer A and answer B, once in each order; "neither" may be said. Two orders that disagree
are no verdict.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Literal

from munro.rewards.judge.access import Access
from munro.rewards.judge.prompts import Prompt
from munro.rewards.judge.verdicts import Verdict

TASK = """\
You are shown a QUESTION and two final answers to it, ANSWER A and ANSWER B, which differ. Work the
question out, then decide which of the two is right. Their order and their form say nothing. Where
neither is right, or you cannot tell, say "neither"."""

Choice = Literal["stored", "consensus", "neither", "undecided"]


class BlindVerdict(Verdict):
    """Which of two answers is right."""

    shape = '{"notes": "how you worked it out, shortly", "right": "A", "B" or "neither"}'
    right: Literal["A", "B", "neither"]


def blindly(access: Access, doubts: Sequence[tuple[str, str, str]]) -> list[Choice]:
    """A choice for each (question, stored answer, consensus).

    Raises:
        GraderError: the judge gave no verdict.
    """

    async def one(question: str, stored: str, found: str) -> Choice:
        first, second = await asyncio.gather(
            access.asked(_prompt(access, question, stored, found), 1),
            access.asked(_prompt(access, question, found, stored), 1),
        )
        votes = {
            {"A": "stored", "B": "consensus"}.get(first[0].right, "neither"),
            {"A": "consensus", "B": "stored"}.get(second[0].right, "neither"),
        }
        if votes == {"stored"}:
            return "stored"
        if votes == {"consensus"}:
            return "consensus"
        return "neither" if votes == {"neither"} else "undecided"

    async def all_of_them() -> list[Choice]:
        return list(await asyncio.gather(*(one(*doubt) for doubt in doubts)))

    return access.wait(all_of_them())


def _prompt(access: Access, question: str, one: str, other: str) -> Prompt[BlindVerdict]:
    parts = {
        "QUESTION": access.shown(question),
        "ANSWER A": access.shown(one),
        "ANSWER B": access.shown(other),
    }
    return Prompt(task=TASK, parts=parts, verdict=BlindVerdict)
