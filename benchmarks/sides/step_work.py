"""The work that both sides of `step_vs_trl.py` do, and a worker's end of the line to its parent.

Standard library only; `turns.py` is the other end.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self, TextIO


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One GRPO step, as both sides do it.

    Example:
        Work(model="smollm2", num_prompts=8, num_samples=16, num_tokens=32)
    """

    model: str
    """Folder of the checkpoint."""
    num_prompts: int = 8
    num_samples: int = 16
    """Completions of each prompt."""
    num_tokens: int = 32
    """Tokens of each completion: all of them, for nobody stops at the end-of-turn token."""
    learning_rate: float = 1e-6
    dtype: str = "float32"
    """What both sample and train in: "bfloat16" leaves the weights themselves in float32."""

    @property
    def num_sampled(self) -> int:
        """Tokens that a step samples and trains on."""
        return self.num_prompts * self.num_samples * self.num_tokens

    def to_json(self) -> str:
        """One line, for a worker's command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of `to_json`."""
        return cls(**json.loads(text))


def questions(work: Work, step: int) -> list[str]:
    """The step's prompts, the same on both sides."""
    draw = random.Random(f"step {step}")
    return [
        f"What is {draw.randint(10, 99)} + {draw.randint(10, 99)}? Answer with the number."
        for _ in range(work.num_prompts)
    ]


def reward(text: str) -> float:
    """Share of digits: differs within every group, so that no side has anything to skip."""
    return sum(character.isdigit() for character in text) / max(1, len(text))


class Parent:
    """A worker's end of the line to its parent.

    From here on whatever else prints goes to standard error, so that it cannot garble an answer.
    """

    def __init__(self) -> None:
        self._out: TextIO = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)
        sys.stdout = sys.stderr

    def wait(self) -> None:
        """Return when a step is asked for; end the process when the parent is gone."""
        if sys.stdin.readline().strip() != "step":
            raise SystemExit(0)

    def say(self, what: Mapping[str, Any]) -> None:
        """Answer."""
        self._out.write(json.dumps(dict(what)) + "\n")
