"""IFBench's `ratio`: shares of words, kinds of sentences, overlap with a text."""

from __future__ import annotations

from munro.rewards.instructions.checkers import instruction
from munro.rewards.instructions.ifbench.lists import STOP_WORDS
from munro.rewards.instructions.ifbench.pieces import sentences
from munro.rewards.instructions.words import words

SLACK = 2
"""Points that an overlap may be off."""


@instruction(
    "ratio:stop_words", "Let at most {percentage}% of your words be stop words (the, of, and ...)."
)
def stop_words(text: str, *, percentage: int) -> bool:
    """The share of words that say nothing of the matter."""
    found = words(text)
    stops = sum(word.lower() in STOP_WORDS for word in found)
    return bool(found) and 100 * stops <= percentage * len(found)


@instruction("ratio:sentence_type", "Write two statements for every question.")
def sentence_type(text: str) -> bool:
    """Twice as many sentences end in a full stop as in a question mark."""
    statements, questions, _ = _kinds(text)
    return statements == 2 * questions


@instruction("ratio:sentence_balance", "Write as many statements as questions and exclamations.")
def sentence_balance(text: str) -> bool:
    """As many sentences end in each of the three marks."""
    return len(set(_kinds(text))) == 1


@instruction(
    "ratio:overlap",
    "Let {percentage}% of the trigrams of your response be in this text, give or take two: "
    "{reference_text}",
)
def overlap(text: str, *, reference_text: str, percentage: int) -> bool:
    """The share of different runs of three characters that the reference has too."""
    ours, theirs = _trigrams(text), _trigrams(reference_text)
    return bool(ours) and abs(100 * len(ours & theirs) / len(ours) - percentage) <= SLACK


@instruction(
    "ratio:sentence_words",
    "Answer in three sentences of the same number of characters, all of different words.",
)
def sentence_words(text: str) -> bool:
    """Three sentences of one length; as published, their words may repeat."""
    found = sentences(text)
    return len(found) == 3 and len({len(sentence) for sentence in found}) == 1


def _kinds(text: str) -> tuple[int, int, int]:
    """Statements, questions, exclamations."""
    last = [sentence[-1] for sentence in sentences(text)]
    return last.count("."), last.count("?"), last.count("!")


def _trigrams(text: str) -> set[str]:
    return {text[at : at + 3] for at in range(len(text) - 2)}
