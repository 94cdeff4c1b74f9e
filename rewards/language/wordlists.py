"""Which words belong to which language: frequency lists, boiled down to what tells them apart.

The lists are those of pyspellchecker (MIT licence, 7 MB, no dependencies). They are read when first
needed, which takes a few seconds, and only words that matter are kept.
"""

from __future__ import annotations

from functools import cache

LANGUAGES = ("de", "es", "fr", "it", "nl", "pt")
"""Neighbours of English that share its letters and many of its words."""
COMMON = 1e-6
"""Share of a language's words from which one of them is evidence for it."""
USUAL = 1e-5
"""Share from which a word may join a run that others are evidence for."""
LETTERS = 3
"""Of the shortest word that is evidence: pairs of letters are codes and abbreviations."""
OWN_RATIO = 0.1
"""Of a word's share in English: with less, the other language merely quotes English."""
FOREIGN_RATIO = 30
"""Times more frequent than in English that a word must be to speak for another language."""


@cache
def tables() -> tuple[dict[str, int], dict[str, int]]:
    """Two tables from words in lower case to languages, as bits in the order of `LANGUAGES`.

    Returns:
        `telling`: languages that the word is evidence for, rare in English or unknown to it.
        `usual`: languages that the word is common in, whether English has it or not.
    """
    english = _shares("en")
    telling: dict[str, int] = {}
    usual: dict[str, int] = {}
    for place, language in enumerate(LANGUAGES):
        for word, share in _shares(language).items():
            in_english = english.get(word, 0.0)
            if len(word) >= LETTERS and share >= max(COMMON, FOREIGN_RATIO * in_english):
                telling[word] = telling.get(word, 0) | 1 << place
            if share >= max(USUAL, OWN_RATIO * in_english):
                usual[word] = usual.get(word, 0) | 1 << place
    return telling, usual


def _shares(language: str) -> dict[str, float]:
    from spellchecker import SpellChecker

    counts = SpellChecker(language=language).word_frequency
    total = counts.total_words
    return {word: count / total for word, count in counts.dictionary.items()}
