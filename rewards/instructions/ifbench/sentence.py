"""IFBench's `sentence`: what each sentence holds, and how it grows on the one before."""

from __future__ import annotations

import string
from itertools import pairwise

from munro.rewards.instructions.checkers import Positive, instruction
from munro.rewards.instructions.ifbench.pieces import STRIPPED, bare_words, sentences


@instruction("sentence:keyword", 'Use the word "{word}" in sentence {N}.')
def keyword(text: str, *, word: str, N: Positive) -> bool:
    """The word stands in that sentence, in any case, parts of words included."""
    found = sentences(text)
    return len(found) >= N and word.lower() in found[N - 1].lower()


@instruction(
    "sentence:increment", "Let each sentence have exactly {small_n} words more than the last."
)
def increment(text: str, *, small_n: int) -> bool:
    """The number of words grows by that much, sentence by sentence."""
    lengths = [len(bare_words(sentence)) for sentence in sentences(text)]
    return all(then == before + small_n for before, then in pairwise(lengths))


@instruction(
    "sentence:alliteration_increment",
    "Let each sentence have a longer run of words with one first letter than the last.",
)
def alliteration_increment(text: str) -> bool:
    """How many words stand in such runs, all runs of a sentence together, grows."""
    lengths = [_alliterating(sentence) for sentence in sentences(text)]
    return all(before < then for before, then in pairwise(lengths))


def _alliterating(sentence: str) -> int:
    """Words in runs of two or more with the same first letter."""
    firsts = [word[0] for each in sentence.lower().split() if (word := each.lstrip(STRIPPED))]
    same = [left == right for left, right in pairwise(firsts)]
    begun = sum(now and not before for before, now in pairwise([False, *same]))
    return sum(same) + begun


@instruction(
    "custom:sentence_alphabet",
    "Tell a story in 26 sentences whose first words begin with A, B, C and so on to Z.",
)
def sentence_alphabet(text: str) -> bool:
    """26 sentences, in the order of the alphabet."""
    firsts = [sentence[0].lower() for sentence in sentences(text)]
    return firsts == list(string.ascii_lowercase)
