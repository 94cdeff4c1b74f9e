"""Numbers: how many words, sentences, paragraphs, characters, lines."""

from __future__ import annotations

import re

from munro.rewards.instructions.checkers import Relation, compare, instruction
from munro.rewards.instructions.words import sentences, words

FIRST_WORD = re.compile(r"[^.,?!'\"]*")


@instruction("length_constraints:number_words", "Answer with {relation} {num_words} words.")
def number_words(text: str, *, num_words: int, relation: Relation = "at least") -> bool:
    """Words, as runs of word characters."""
    return compare(len(words(text)), relation, num_words)


@instruction(
    "length_constraints:number_sentences", "Answer with {relation} {num_sentences} sentences."
)
def number_sentences(text: str, *, num_sentences: int, relation: Relation = "at least") -> bool:
    """Sentences by their closing marks, as IFEval counts them."""
    return compare(len(sentences(text)), relation, num_sentences)


@instruction(
    "length_constraints:number_paragraphs",
    "There should be {num_paragraphs} paragraphs, separated by the markdown divider: ***",
)
def number_paragraphs(text: str, *, num_paragraphs: int) -> bool:
    """Paragraphs between dividers of three asterisks, none of them empty."""
    found = [part.strip() for part in text.split("***")]
    found = found[1:] if not found[0] else found
    found = found[:-1] if found and not found[-1] else found
    return all(found) and len(found) == num_paragraphs


@instruction(
    "length_constraints:nth_paragraph_first_word",
    "There should be {num_paragraphs} paragraphs, separated by two line breaks. Paragraph "
    '{nth_paragraph} must start with the word "{first_word}".',
)
def nth_paragraph_first_word(
    text: str, *, num_paragraphs: int, nth_paragraph: int, first_word: str
) -> bool:
    """The number of paragraphs between empty lines, and how one of them begins."""
    found = text.split("\n\n")
    if nth_paragraph < 1 or sum(bool(part.strip()) for part in found) != num_paragraphs:
        return False
    if nth_paragraph > len(found) or not found[nth_paragraph - 1].strip():
        return False
    first = found[nth_paragraph - 1].split(maxsplit=1)[0].lstrip("'\"")
    match = FIRST_WORD.match(first)
    return match is not None and match[0].lower() == first_word.strip().lower()


@instruction(
    "length_constraints:number_characters", "Answer with {relation} {num_characters} characters."
)
def number_characters(text: str, *, num_characters: int, relation: Relation = "at most") -> bool:
    """Characters, without white space at the ends. Not IFEval's."""
    return compare(len(text.strip()), relation, num_characters)


@instruction("length_constraints:number_lines", "Answer with {relation} {num_lines} lines.")
def number_lines(text: str, *, num_lines: int, relation: Relation = "exactly") -> bool:
    """Lines that are not empty. Not IFEval's."""
    return compare(sum(bool(line.strip()) for line in text.split("\n")), relation, num_lines)
