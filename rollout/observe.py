"""What the policy sees of an observation: all of it where it fits, else its beginning and its end.

    observations ──► each at most `observation_tokens` ──► together what the context leaves ──► ids

A stream never grows past its context. Part of what is left (`ROOM`) is kept for the turn that
reads the observation. What is cut is cut out of the middle, and the text says how much it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from munro.envs.types import Message

ROOM = 4
"""One part in so many of what the context has left is kept for the next turn, at most."""
NEAR = 32
"""A cut text may be shorter by one part in so many than it would have to be."""
SAMPLE = 4
"""Characters a token of a text's beginning by which it is guessed how much of it fits."""
CHARACTERS_A_TOKEN = 64
"""More than texts have; beyond that many, what cannot be shown is cut before it is counted."""

Render = Callable[[Sequence[Message]], list[int]]
"""Tokens that a stream grows by, with these observations."""
Count = Callable[[str], int]
"""Tokens of a text."""


def fitted(
    observations: Sequence[Message], render: Render, count: Count, *, most: int, each: int = 0
) -> tuple[list[Message], list[int]] | None:
    """The observations as they fit, and the tokens that they become.

    Args:
        observations: of one turn.
        render: makes tokens of them, what the template puts around them included.
        count: tokens of a text by itself.
        most: tokens that they may take together.
        each: tokens that each text may take; 0 for as many as there is room for.

    Returns:
        None where not even a character of each would fit.
    """
    texts = [message.content for message in observations]
    lengths = [_length(text, min(each, most) if each else most, count) for text in texts]

    def cut(length: int) -> tuple[list[Message], list[int]]:
        shown = [
            replace(message, content=clipped(message.content, min(length, own)))
            for message, own in zip(observations, lengths, strict=True)
        ]
        return shown, render(shown)

    longest = max(lengths, default=0)
    whole = cut(longest)
    if len(whole[1]) <= most:
        return whole
    guess = longest * most // len(whole[1])
    length = _largest(longest, lambda length: len(cut(length)[1]) <= most, guess)
    return cut(length) if length else None


def _length(text: str, most: int, count: Count) -> int:
    """Characters of a text that can be shown in `most` tokens, what says so included."""
    # a text that cannot fit is not read to its end; and no token is shorter than a byte
    longest = min(len(text), most * CHARACTERS_A_TOKEN)
    if longest == len(text) and (len(text.encode(errors="replace")) <= most or count(text) <= most):
        return longest
    some = min(longest, SAMPLE * most)
    guess = some * most // max(count(text[:some]), 1)
    return _largest(longest + 1, lambda length: count(clipped(text, length)) <= most, guess)


def clipped(text: str, length: int) -> str:
    """`length` characters of a text, half from either end, and how many were left out between.

    Example:
        clipped("abcdefgh", 4)      # "ab\\n[... 4 characters left out ...]\\ngh"
    """
    if len(text) <= length:
        return text
    tail = length // 2
    head = length - tail
    left_out = f"\n[... {len(text) - length} characters left out ...]\n"
    return text[:head] + left_out + text[len(text) - tail :]


def _largest(longest: int, fits: Callable[[int], bool], guess: int) -> int:
    """A length below `longest` that fits, with hardly a longer one that does: at most a part in
    `NEAR` more. 0 where 1 does not.

    Args:
        longest: too long.
        fits: whether a length does; asked as seldom as can be, for it costs a tokenization.
        guess: where the answer is thought to be.
    """
    low, high = 0, longest
    near = guess // NEAR + 1
    for middle in (guess, guess + near, guess - near):
        if low < middle < high:
            low, high = (middle, high) if fits(middle) else (low, middle)
    while high - low > max(1, low // NEAR):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
