"""Sums out of a book's key, for `climbs.py`: the environment `qa`, for a base that writes no tags.

prompt   What is 347 + 285?
reply    7+5=12 4+8+1=13 3+2+1=06 632
grade    passed: the last number equals the reference of the row
"""

from __future__ import annotations

from munro.envs.arithmetic import last_number
from munro.envs.qa import QuestionsAndAnswers
from munro.envs.types import Task
from munro.rewards.types import Grade


class KeyedSums(QuestionsAndAnswers):
    """Rows of `munro questions build`, graded by the last number of a reply."""

    name = "keyed_sums"

    def grade(self, task: Task, reply: str) -> Grade:
        """As `qa` grades that number."""
        return super().grade(task, f"<answer>{last_number(reply) or ''}</answer>")
