"""What a model thinks, and what it says."""

from __future__ import annotations

import re

THINK = ("<think>", "</think>")


def without_thoughts(text: str, *marks: tuple[str, str]) -> str:
    """A turn's text outside of its thoughts; one that never ends leaves nothing after it.

    A thought that was opened before the text begins has only its end in it.

    Args:
        text: of one turn.
        marks: what opens and what closes a thought; `<think>` and `</think>` unless given.

    Example:
        without_thoughts("<think>add(1, 2)?</think>It is 3.")     # "It is 3."
        without_thoughts("add(1, 2)?</think>It is 3.")            # "It is 3."
    """
    for opens, closes in marks or (THINK,):
        before, ended, after = text.partition(closes)
        if ended and opens not in before:
            text = after
        thought = f"{re.escape(opens)}.*?(?:{re.escape(closes)}|\\Z)"
        text = re.sub(thought, "", text, flags=re.DOTALL)
    return text
