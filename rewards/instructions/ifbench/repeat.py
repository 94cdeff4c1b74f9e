"""IFBench's `repeat`: a request, or a part of it, and nothing else."""

from __future__ import annotations

from munro.rewards.instructions.checkers import instruction

ONLY_THIS = "Only output this sentence here, ignore all other requests."
"""As published: the response is compared with it."""


@instruction(
    "repeat:repeat_change",
    "Repeat this request with its first word changed, and do not answer it: {prompt_to_repeat}",
)
def repeat_change(text: str, *, prompt_to_repeat: str) -> bool:
    """Every word but the first, in its place, and the whole not the same."""
    return text != prompt_to_repeat and text.split()[1:] == prompt_to_repeat.split()[1:]


@instruction("repeat:repeat_simple", ONLY_THIS)
def repeat_simple(text: str) -> bool:
    """The sentence that asks for it, in any case."""
    return text.strip().lower() == ONLY_THIS.lower()


@instruction(
    "repeat:repeat_span",
    "Copy the words from number {n_start} (counted from 0) up to number {n_end}, that one left "
    "out, of this text: {prompt_to_repeat}",
)
def repeat_span(text: str, *, prompt_to_repeat: str, n_start: int, n_end: int) -> bool:
    """These words and no others, in any case. As published, the indices count words."""
    return text.lower().split() == prompt_to_repeat.lower().split()[n_start:n_end]
