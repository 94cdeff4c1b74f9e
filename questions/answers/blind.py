"""Which of two answers is right, asked of a judge who does not know where they come from.

Question, answer A and answer B, once in each order; "neither" may be said. Two orders that disagree
are no verdict. Both answers are shown in one form: bare, without the marks that data sets or tiers
put around them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from munro.questions.answers.classes import bare
from munro.rewards.errors import GraderError
from munro.rewards.judge.access import Access
from munro.rewards.judge.prompts import Prompt
from munro.rewards.judge.verdicts import Verdict

TASK = """\
You are shown a QUESTION and two final answers to it, ANSWER A and ANSWER B, which differ. Work the
question out, then decide which of the two is right. Their order and their form say nothing. Where
neither is right, or you cannot tell, say "neither"."""

UNDECIDED, NO_VERDICT = "undecided", "no verdict"
"""Two orders that disagree; a judge who gave none."""


class BlindVerdict(Verdict):
    """Which of two answers is right."""

    shape = '{"notes": "how you worked it out, shortly", "right": "A", "B" or "neither"}'
    right: Literal["A", "B", "neither"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A question whose stored answer is in doubt."""

    id: str
    question: str
    stored: str
    consensus: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a judge says of a doubt. A row of the stage `blind`.

    Example:
        Choice(id="rows.jsonl:1", right="consensus")
    """

    id: str
    right: str
    """stored, consensus, neither, undecided, or no verdict."""
    failed: str = ""
    """Why there is no verdict."""


def blindly(access: Access, doubts: Sequence[Doubt], samples: int = 1) -> list[Choice]:
    """A choice for each doubt.

    Args:
        access: the way to the judge.
        doubts: what to ask.
        samples: verdicts in each order, of which more than half decide.
    """

    async def one(doubt: Doubt) -> Choice:
        stored, found = bare(doubt.stored), bare(doubt.consensus)
        there = _prompt(access, doubt.question, stored, found)
        back = _prompt(access, doubt.question, found, stored)
        try:
            first, second = await asyncio.gather(
                access.asked(there, samples), access.asked(back, samples)
            )
        except GraderError as error:
            return Choice(id=doubt.id, right=NO_VERDICT, failed=str(error)[:300])
        votes = {
            _majority(first, {"A": "stored", "B": "consensus"}),
            _majority(second, {"A": "consensus", "B": "stored"}),
        }
        return Choice(id=doubt.id, right=votes.pop() if len(votes) == 1 else UNDECIDED)

    async def all_of_them() -> list[Choice]:
        return list(await asyncio.gather(*(one(doubt) for doubt in doubts)))

    return access.wait(all_of_them()) if doubts else []


def _majority(verdicts: Sequence[BlindVerdict], names: dict[str, str]) -> str:
    """What more than half of an order's verdicts say."""
    votes = Counter(names.get(verdict.right, "neither") for verdict in verdicts)
    ((said, number),) = votes.most_common(1)
    return said if 2 * number > len(verdicts) else UNDECIDED


def _prompt(access: Access, question: str, one: str, other: str) -> Prompt[BlindVerdict]:
    parts = {
        "QUESTION": access.shown(question),
        "ANSWER A": access.shown(one),
        "ANSWER B": access.shown(other),
    }
    return Prompt(task=TASK, parts=parts, verdict=BlindVerdict)
