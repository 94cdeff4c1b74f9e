"""What an evaluation keeps: one row for every attempt, whoever made it and wherever."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

TEXTS = ("entry", "task", "cluster", "ending", "prompt", "reply", "failed")
"""Fields of a row that anybody may have written."""


class BadResults(ValueError):
    """Something about kept results that a person must settle; the message is the whole story."""

    is_sentence = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRow:
    """One attempt at one task, as it is kept.

    Example:
        AttemptRow(entry="sums", task="arithmetic/17+25", run=0, seed=0, passed=True, reward=1.0)
    """

    entry: str
    """Of the suite."""
    task: str
    """Unique within the entry, and the same for every model: comparisons pair on it."""
    run: int
    """From 0; every task of an entry has the same runs."""
    seed: int
    """That the run was drawn with."""
    passed: bool
    reward: float
    parts: Mapping[str, float] = field(default_factory=dict)
    """ "GRADER/PART" to value, as the grade has them. All finite."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """What the task says of itself: category, severity, twin, subset."""
    cluster: str = ""
    """Tasks of one cluster resemble each other (questions on one text, say); empty for a task
    that stands for itself."""
    num_tokens: int = 0
    """That the model wrote."""
    ending: str = ""
    """Why it stopped, as `munro.envs.types.Ending` or the harness says."""
    prompt: str = ""
    reply: str = ""
    failed: str = ""
    """Why it was not scored; empty where it was. Never counted as wrong."""

    def __post_init__(self) -> None:
        for name in TEXTS:
            # a model may write what is no text (lone surrogates), which no file takes
            if not (text := getattr(self, name)).isascii():
                written = text.encode(errors="backslashreplace").decode()
                object.__setattr__(self, name, written)
        where = f"{self.entry or '(no entry)'}/{self.task or '(no task)'} run {self.run}"
        if not self.entry or not self.task:
            raise BadResults(f"{where}: an attempt names its entry and its task.")
        if self.run < 0:
            raise BadResults(f"{where}: runs are counted from 0.")
        for name, value in (("reward", self.reward), *self.parts.items()):
            if not math.isfinite(value):
                raise BadResults(
                    f"{where}: {name} is {value}, which is no score. Say why in `failed` instead."
                )
