"""Content: words that must stand in a response, or must not, or so and so often."""

from __future__ import annotations

import re

from munro.rewards.instructions.checkers import Relation, compare, instruction


@instruction("keywords:existence", "Include these keywords in your response: {keywords}.")
def existence(text: str, *, keywords: list[str]) -> bool:
    """Every keyword stands somewhere, in any case."""
    lowered = text.lower()
    return all(keyword.lower() in lowered for keyword in keywords)


@instruction(
    "keywords:frequency", 'The word "{keyword}" should appear {relation} {frequency} times.'
)
def frequency(text: str, *, keyword: str, frequency: int, relation: Relation = "at least") -> bool:
    """How often a keyword stands there, in any case, parts of words included."""
    return compare(text.lower().count(keyword.strip().lower()), relation, frequency)


@instruction("keywords:forbidden_words", "Do not use any of these words: {forbidden_words}.")
def forbidden_words(text: str, *, forbidden_words: list[str]) -> bool:
    """None of the words stands there as a word of its own."""
    return not any(
        re.search(rf"(?<!\w){re.escape(word.strip())}(?!\w)", text, re.IGNORECASE)
        for word in forbidden_words
    )


@instruction(
    "keywords:letter_frequency",
    'The letter "{letter}" should appear {let_relation} {let_frequency} times.',
)
def letter_frequency(
    text: str, *, letter: str, let_frequency: int, let_relation: Relation = "at least"
) -> bool:
    """How often a letter stands there, in any case."""
    return compare(text.lower().count(letter.lower()), let_relation, let_frequency)


@instruction("keywords:word_once", 'Use the word "{keyword}" exactly once.')
def word_once(text: str, *, keyword: str) -> bool:
    """A word of its own, one time. Not IFEval's."""
    pattern = rf"(?<!\w){re.escape(keyword.strip())}(?!\w)"
    return len(re.findall(pattern, text, re.IGNORECASE)) == 1


@instruction("keywords:alliteration", 'Begin every word with the letter "{letter}".')
def alliteration(text: str, *, letter: str) -> bool:
    """All words begin with one letter. Not IFEval's."""
    found = re.findall(r"[^\W\d_]+", text.lower())
    return bool(found) and all(word.startswith(letter.lower()) for word in found)
