"""IFBench's `count`: words, numbers, names, pronouns, conjunctions, marks."""

from __future__ import annotations

import re

from munro.rewards.instructions.checkers import Positive, instruction
from munro.rewards.instructions.ifbench.lists import CONJUNCTIONS, NAMES, PRONOUNS
from munro.rewards.instructions.ifbench.pieces import STRIPPED, bare, bare_words, stripped_words
from munro.rewards.instructions.words import words

NUMBER = re.compile(r"\d+")
JAPANESE = re.compile("[\u3040-\u30ff\u4e00-\u9fff]")
MARKS = frozenset(".,!?;:")
INTERROBANGS = ("?!", "!?", "‽")
TIMES = (1, 2, 3, 5, 7)


@instruction("count:word_count_range", "Use between {min_words} and {max_words} words.")
def word_count_range(text: str, *, min_words: int, max_words: int) -> bool:
    """So many words, as runs of word characters."""
    return min_words <= len(words(text)) <= max_words


@instruction("count:unique_word_count", "Use at least {N} different words.")
def unique_word_count(text: str, *, N: int) -> bool:
    """Different words, in any case, without the punctuation around them."""
    return len(set(stripped_words(text.lower()))) >= N


@instruction(
    "count:conjunctions", "Use at least {small_n} different coordinating conjunctions, such as and."
)
def conjunctions(text: str, *, small_n: int) -> bool:
    """How many of the seven stand there."""
    return len(CONJUNCTIONS & set(stripped_words(text.lower()))) >= small_n


@instruction(
    "count:person_names",
    f"Mention at least {{N}} different people, out of these: {', '.join(NAMES)}.",
)
def person_names(text: str, *, N: int) -> bool:
    """How many of the fifty names stand there, parts of longer names included."""
    return sum(name in text for name in NAMES) >= N


@instruction("count:numbers", "Include exactly {N} numbers.")
def numbers(text: str, *, N: int) -> bool:
    """Runs of digits, once punctuation is left out: "1,000.5" is one, and so is "10-20"."""
    return len(NUMBER.findall(bare(text))) == N


@instruction("count:pronouns", "Use at least {N} pronouns.")
def pronouns(text: str, *, N: int) -> bool:
    """Personal, possessive and reflexive ones, each as often as it stands there."""
    found = bare_words(text.lower().replace("/", " "))
    return sum(word in PRONOUNS for word in found) >= N


@instruction(
    "count:punctuation",
    "Use each of these at least once: full stop, comma, colon, semicolon, question mark, "
    "exclamation mark, and an interrobang (?!).",
)
def punctuation(text: str) -> bool:
    """All six marks, beside the ones of the interrobang."""
    if not any(mark in text for mark in INTERROBANGS):
        return False
    mark = next((each for each in INTERROBANGS if each in text), "")
    return set(text.replace(mark, "", 1)) >= MARKS


@instruction(
    "count:keywords_multiple",
    'Use the word "{keyword1}" once, "{keyword2}" twice, "{keyword3}" three times, "{keyword4}" '
    'five times, and "{keyword5}" seven times.',
)
def keywords_multiple(
    text: str, *, keyword1: str, keyword2: str, keyword3: str, keyword4: str, keyword5: str
) -> bool:
    """Exactly so often, in any case, parts of words included."""
    lowered = text.lower()
    keywords = (keyword1, keyword2, keyword3, keyword4, keyword5)
    return all(
        lowered.count(keyword.strip().lower()) == times
        for keyword, times in zip(keywords, TIMES, strict=True)
    )


@instruction("count:words_japanese", "Write every {N}th word in Japanese.")
def words_japanese(text: str, *, N: Positive) -> bool:
    """Every Nth word holds a Japanese character, unless it is a number or no word."""
    every = (word.strip(STRIPPED) for word in text.split()[N - 1 :: N])
    return all(not word or word.isdigit() or JAPANESE.search(word) for word in every)
