"""How many replies state their answer before the work."""

from __future__ import annotations

import math
import re

import numpy as np

from munro.evaluation.thoughts.types import Array, Feature, Rows

OPENING = 0.15
"""Share of a reply that is its beginning."""
LEAST, MOST = 80, 40
"""Characters of a reply that can hold work at all; of an answer that can be told from words."""
NUMBER = re.compile(r"-?\d+(?:[.,/]\d+)*")
MARKS = (("<answer>", "</answer>"), ("\\boxed{", "}"))
END = 200
"""Characters at the end where an answer without marks stands."""


class AnswerFirst(Feature):
    """The final answer stands in the opening, was not in the prompt, and work follows."""

    title = "Answer before the work"
    told = "Replies whose final answer stands in their first 15%, and not in what was asked."
    is_share = True

    def values(self, rows: Rows) -> Array:
        """1 where it does; NaN where a reply is too short to hold work, or has no answer."""
        found = [
            _is_first(text, prompt) for text, prompt in zip(rows.text, rows.prompt, strict=True)
        ]
        return np.array(found, np.float64)


def _is_first(text: str, prompt: str) -> float:
    if len(text) < LEAST or not (answer := final(text)):
        return math.nan
    opening = text[: int(len(text) * OPENING)]
    if answer not in opening or _holds(prompt, answer):
        return 0.0
    return float(_holds(opening, answer))


def final(text: str) -> str:
    """The answer that a reply ends with; empty where none can be told."""
    for opens, closes in MARKS:
        at = text.rfind(opens)
        if at >= 0:
            answer = text[at + len(opens) :].partition(closes)[0].strip()
            return answer if 0 < len(answer) <= MOST else ""
    numbers = NUMBER.findall(text[-END:])
    return numbers[-1] if numbers else ""


def _holds(text: str, answer: str) -> bool:
    """Whether it stands there by itself, not inside of a longer word or number."""
    at = text.find(answer)
    while at >= 0:
        before, after = text[at - 1 : at], text[at + len(answer) : at + len(answer) + 1]
        if not (before.isalnum() or after.isalnum()):
            return True
        at = text.find(answer, at + 1)
    return False
