"""IFBench's `words`: letters, lengths, syllables, order and repetition of words."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

from munro.rewards.instructions.checkers import Positive, instruction
from munro.rewards.instructions.ifbench.pieces import (
    STRIPPED,
    bare_words,
    sentences,
    tokens,
)
from munro.rewards.instructions.ifbench.syllables import count_syllables
from munro.rewards.instructions.ifbench.verbs import may_be_verb

ALPHABET = "abcdefghijklmnopqrstuvwxyz"
CLUSTER = re.compile("[bcdfghjklmnpqrstvwxyz]{2}")
PRIMES = frozenset((2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73,
                    79, 83, 89, 97))  # fmt: skip
MOST_VOWELS = 3
NUM_PALINDROMES, PALINDROME = 10, 5


@instruction(
    "words:alphabet",
    "Begin each word with the letter of the alphabet that follows that of the word before, A "
    "after Z.",
)
def alphabet(text: str) -> bool:
    """In order from whatever letter comes first."""
    firsts = [word[0] for word in bare_words(text.lower())]
    if not firsts or firsts[0] not in ALPHABET:
        return False
    start = ALPHABET.index(firsts[0])
    return all(first == ALPHABET[(start + n) % 26] for n, first in enumerate(firsts))


@instruction("words:vowel", "Write one paragraph with no more than three of the five vowels.")
def vowel(text: str) -> bool:
    """One line, with at most three of a, e, i, o, u in all of it."""
    text = text.strip().lower()
    return "\n" not in text and len(set("aeiou") & set(text)) <= MOST_VOWELS


@instruction("words:consonants", "Let every word have two consonants in a row.")
def consonants(text: str) -> bool:
    """Every word, as it stands between spaces, has such a pair."""
    return all(CLUSTER.search(word) for word in text.lower().split())


@instruction(
    "words:palindrome",
    "Include at least ten words of five letters or more that read the same backwards.",
)
def palindrome(text: str) -> bool:
    """Ten of them, repetitions counted."""
    found = [word for word in bare_words(text.lower()) if word == word[::-1]]
    return sum(len(word) >= PALINDROME for word in found) >= NUM_PALINDROMES


@instruction("words:prime_lengths", "Use only words whose length is a prime number.")
def prime_lengths(text: str) -> bool:
    """Lengths without punctuation."""
    return all(len(word) in PRIMES for word in bare_words(text))


@instruction("words:start_verb", "Begin with a verb.")
def start_verb(text: str) -> bool:
    """The first word is a form of a known verb (not may, can and the like)."""
    found = tokens(text[:1000])
    return bool(found) and may_be_verb(found[0])


@instruction("words:repeats", "Use no word more than {small_n} times.")
def repeats(text: str, *, small_n: int) -> bool:
    """In any case, punctuation left out."""
    times = Counter(bare_words(text.lower()))
    return max(times.values(), default=0) <= small_n


@instruction(
    "words:odd_even_syllables", "Alternate words of an odd and an even number of syllables."
)
def odd_even_syllables(text: str) -> bool:
    """By the rules of `syllables`; which comes first is free."""
    odd = [count_syllables(word) % 2 for word in bare_words(text.lower())]
    return all(before != then for before, then in pairwise(odd))


@instruction("words:last_first", "Begin each sentence with the last word of the sentence before.")
def last_first(text: str) -> bool:
    """In any case, punctuation around left out; a sentence of marks alone fits nothing."""
    found = [sentence.strip(STRIPPED).lower().split() for sentence in sentences(text)]
    return all(before and then and before[-1] == then[0] for before, then in pairwise(found))


@instruction(
    "words:paragraph_last_first",
    "End each paragraph with the word that it began with; a new line begins a paragraph.",
)
def paragraph_last_first(text: str) -> bool:
    """Every line that is not empty, in any case, punctuation around it left out."""
    lines = [
        line.strip(STRIPPED).split() for each in text.split("\n") if (line := each.strip().lower())
    ]
    return all(words and words[0] == words[-1] for words in lines)


@instruction("words:no_consecutive", "Let no two words in a row begin with the same letter.")
def no_consecutive(text: str) -> bool:
    """In any case, punctuation left out."""
    return all(before[0] != then[0] for before, then in pairwise(bare_words(text.lower())))


@instruction(
    "words:keywords_specific_position",
    'Let word {m} of sentence {n} be "{keyword}".',
)
def keywords_specific_position(text: str, *, keyword: str, n: Positive, m: Positive) -> bool:
    """In exactly that form; marks count as words."""
    found = sentences(text)
    at = tokens(found[n - 1]) if len(found) >= n else []
    return len(at) >= m and at[m - 1] == keyword.strip()


@instruction(
    "words:words_position",
    'Let the second word and the last but one be "{keyword}".',
)
def words_position(text: str, *, keyword: str) -> bool:
    """In exactly that form; marks count as words, the last full stop too."""
    found = tokens(text)
    return len(found) > 1 and found[1] == found[-2] == keyword.strip()
