"""What one episode may spend, and how many of its kind may be open at once.

    rollout.*  <  Environment.budget  <  [env.budget]  <  Task.budget

Who stands further right has the last word, key by key: what it leaves out is as it was before.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field

from munro.rewards.config import Config


class Budget(Config):
    """Limits of an episode. What is left out is whatever `[rollout]` says.

    Example:
        Budget(turns=200, turn_tokens=8192, observation_tokens=4096, wall_s=3600, boxes="auto")
    """

    turns: int | None = Field(None, ge=1)
    """Policy turns; else `rollout.max_turns`."""
    turn_tokens: int | None = Field(None, ge=1)
    """Tokens that the policy may write in one turn; else all that are left of the response. What
    becomes of a turn that it cuts is `rollout.cut_turn`."""
    observation_tokens: int | None = Field(None, ge=0)
    """Tokens of one observation, 0 for all that the context leaves; else
    `rollout.observation_tokens`."""
    wall_s: float | None = Field(None, gt=0)
    """Seconds from the first turn on, after which no other turn begins; else as long as it takes.
    The episode is graded as it stands then."""
    start_s: float | None = Field(None, gt=0)
    """Seconds to start an episode; else `rollout.start_deadline_s`. An attempt that overruns this
    or one of the next two is unscored."""
    reply_s: float | None = Field(None, gt=0)
    """Seconds to answer a turn, all of its calls; else `rollout.reply_deadline_s`."""
    grade_s: float | None = Field(None, gt=0)
    """Seconds for one grade; else `rollout.grade_deadline_s`."""
    boxes: Annotated[int, Field(ge=1)] | Literal["auto"] | None = None
    """Episodes open at once on one node, for environments of which each holds a box (a sandbox, a
    server); "auto" for what the node's processors and memory allow. Else as many as there are
    attempts. A task's own is not looked at."""

    def over(self, below: Budget) -> Self:
        """All that this budget says, and for the rest what `below` does."""
        said = {name: value for name, value in self if value is not None}
        return self.model_copy(update={**dict(below), **said})
