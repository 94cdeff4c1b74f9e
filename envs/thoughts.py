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
    return parted(text, *marks)[1]


def parted(text: str, *marks: tuple[str, str]) -> tuple[str, str]:
    """A turn's thoughts, and its text outside of them; see `without_thoughts`.

    Example:
        parted("<think>add(1, 2)?</think>It is 3.")               # ("add(1, 2)?", "It is 3.")
    """
    thoughts = []
    for opens, closes in marks or (THINK,):
        before, ended, after = text.partition(closes)
        if ended and opens not in before:
            thoughts.append(before)
            text = after
        thought = re.compile(f"{re.escape(opens)}(.*?)(?:{re.escape(closes)}|\\Z)", re.DOTALL)
        thoughts += thought.findall(text)
        text = thought.sub("", text)
    return "\n".join(filter(None, (thought.strip("\n") for thought in thoughts))), text
