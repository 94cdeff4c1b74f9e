"""A judge that writes weak statements anew: the symptom, as a user would report it, not the fix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import Field

from munro.envs.swe_build.patch import patch_of
from munro.envs.swe_build.proposal import Proposal
from munro.envs.swe_build.statements.statement import Statement, leak_of, scrub
from munro.rewards.judge.access import Access
from munro.rewards.judge.config import JudgeConfig
from munro.rewards.judge.fence import clip
from munro.rewards.judge.prompts import Prompt
from munro.rewards.judge.verdicts import Verdict

Rewrite = Callable[[Proposal, dict[str, bytes], Statement], Statement]
MOST_PATCH = 12_000
TASK = (
    "You write the issue that a programming task begins with. Given what was written about a fix, "
    "the fix and its tests, describe what goes wrong or is missing, as a user would who knows "
    "neither: what one does, what happens, what should happen. Name every public name, value and "
    "message that the tests ask for. Never say how the fix does it, and quote no line of it."
)


class StatementVerdict(Verdict):
    """A statement, and what was the matter with the one before."""

    shape = (
        '{"notes": "what is unclear in the text as it was, shortly", "text": "the issue, in '
        'Markdown", "was": "clear", "vague", "names missing", "needs what is elsewhere", '
        '"several issues" or "gives the fix away"}'
    )
    text: str = Field(min_length=20, max_length=6000)
    was: Literal[
        "clear",
        "vague",
        "names missing",
        "needs what is elsewhere",
        "several issues",
        "gives the fix away",
    ]


def rewriter(config: JudgeConfig, name: str) -> Rewrite:
    """Statements by a judge; what it writes is scrubbed and measured like anybody's.

    Raises:
        ValueError: its key or checkpoint is missing.
    """
    access = Access(config, name)

    def rewrite(proposal: Proposal, before: dict[str, bytes], statement: Statement) -> Statement:
        old = {path: before.get(path) for path in (*proposal.gold, *proposal.tests)}
        prompt = Prompt(
            task=TASK,
            parts={
                "WRITTEN": access.clean(clip(statement.text, MOST_PATCH)),
                "FIX": access.clean(clip(patch_of(old, proposal.gold), MOST_PATCH)),
                "TESTS": access.clean(clip(patch_of(old, proposal.tests), MOST_PATCH)),
            },
            verdict=StatementVerdict,
        )
        verdict = access.wait(access.asked(prompt, 1))[0]
        text, taken = scrub(verdict.text)
        return Statement(
            text=text,
            source=f"judge: the text before was {verdict.was}",
            leak=leak_of(text, proposal.gold, before),
            scrubbed=taken,
        )

    return rewrite
