"""Mathematics: the final answer of a response, compared with a reference."""

from __future__ import annotations

from typing import Any

from munro.rewards.config import RewardsConfig
from munro.rewards.kinds import STRETCH, Field, Grader, Item, Kind, Usual
from munro.rewards.types import Grade


class MathGrader(Grader):
    """`munro.rewards.math`, with killable processes of its own."""

    kind = Kind(
        summary="the final answer, compared as mathematics with a reference",
        fields={
            "answer": Field(what="the reference answer", types=(str, int, float)),
            "question": Field(what="what was asked, for a judge to read", is_required=False),
        },
        in_process=True,
        timeout_s=5.0,
    )

    def __init__(
        self, workers: int = 2, timeout_s: float = 5.0, memory_mb: int = 1024, judge: str = ""
    ) -> None:
        """
        Args:
            workers: answers checked at the same moment.
            timeout_s: CPU seconds of one check.
            memory_mb: of one checking process, MiB.
            judge: name of a configured judge, asked where no rule decides; nobody unless given.
        """
        from munro.rewards.judge import named
        from munro.rewards.math import MathVerifier

        config = RewardsConfig(workers=workers, timeout_s=STRETCH * timeout_s, memory_mb=memory_mb)
        self._verifier = MathVerifier(
            config, judge=named(judge) if judge else None, cpu_s=timeout_s
        )

    @classmethod
    def usual(cls, rewards: Any) -> Usual:
        """Sizes and judge of `[rewards]`, which are of mathematics."""
        keys = ("workers", "timeout_s", "memory_mb")
        return Usual(
            options={"judge": rewards.judge} if rewards.judge else {},
            sizes={key: getattr(rewards, key) for key in keys},
        )

    def grade(self, item: Item) -> Grade:
        """Compare the last answer of the response with the reference."""
        question = str(item.get("question", ""))
        return self._verifier.verify(item["response"], str(item["answer"]), question)

    def close(self) -> None:
        """End the verifier's processes."""
        self._verifier.close()
