"""Digits out of those that are named: many right answers, and a judge who errs.

prompt   Write four digits out of 0, 4, 7 and 8.
reply    8740
grade    passed: four digits, all of them named

Every task has from 81 to 625 right answers, so a policy has no need to settle for a few. With
`label_noise` a share of the training verdicts on four digits is the wrong way round, as a person's
or a judge model's are; then there is always something that looks like a lesson, and a policy that
takes it keeps fewer and fewer of the answers that are all equally right. Test verdicts are never
wrong.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Sequence

from munro.envs.arithmetic import is_held_out
from munro.envs.base import SingleTurn
from munro.envs.types import Task
from munro.rewards.types import Grade

DIGITS = "0123456789"
PROMPT = "Write four digits out of {digits}."
WANTED = 4
SEPARATORS = re.compile(r"[\s,]")
FEWEST, MOST = 3, 5
"""How many digits a task names."""


def listed(digits: Sequence[str]) -> str:
    """ "0, 4 and 7"."""
    return f"{', '.join(digits[:-1])} and {digits[-1]}"


class Digits(SingleTurn):
    """Write four digits, each of them one that the prompt names."""

    name = "digits"

    def __init__(self, label_noise: float = 0.0, seed: int = 0) -> None:
        """
        Args:
            label_noise: share of the verdicts on training tasks that are turned round, where the
                reply is four digits. Which ones is decided by task and reply, so that a grading
                made again says the same.
            seed: of the order of the tasks, and of which verdicts are wrong.
        """
        if not 0 <= label_noise < 0.5:
            raise ValueError(
                f"label_noise = {label_noise!r}: give a share of at least 0 and under 0.5; at half "
                "of the verdicts nothing can be learned from them."
            )
        self._label_noise, self._seed = label_noise, seed

    def tasks(self, split: str) -> Sequence[Task]:
        """Every choice of 3 to 5 digits in every order; one set in ten is kept for testing."""
        if split not in ("train", "test"):
            raise ValueError(f"split = {split!r}: digits has 'train' and 'test'.")
        choices = [
            choice
            for size in range(FEWEST, MOST + 1)
            for choice in itertools.permutations(DIGITS, size)
            if is_held_out("".join(sorted(choice))) == (split == "test")
        ]
        random.Random(f"{self._seed}/{split}").shuffle(choices)
        return [
            Task(
                id="".join(choice),
                prompt=PROMPT.format(digits=listed(choice)),
                payload={"named": "".join(choice), "split": split},
            )
            for choice in choices
        ]

    def grade(self, task: Task, reply: str) -> Grade:
        """Pass if there are four digits and all are named, or the reverse where a verdict errs."""
        written = SEPARATORS.sub("", reply)
        if len(written) != WANTED or not set(written) <= set(DIGITS):
            return Grade.of(False, reason="not four digits")
        is_right = set(written) <= set(task.payload["named"])
        return Grade.of(is_right != self._errs(task, written))

    def _errs(self, task: Task, written: str) -> bool:
        if task.payload["split"] == "test" or not self._label_noise:
            return False
        draw = random.Random(f"{self._seed}/{task.id}/{written}").random()
        return draw < self._label_noise

    def gold_reply(self, task: Task) -> str:
        """The first right answer whose verdict is right too."""
        replies = map("".join, itertools.product(sorted(task.payload["named"]), repeat=WANTED))
        return next(reply for reply in replies if not self._errs(task, reply))
