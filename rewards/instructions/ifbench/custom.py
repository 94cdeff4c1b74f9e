"""IFBench's `custom`: types that are one question each, answered in a form that can be checked."""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise

from munro.rewards.instructions.checkers import instruction
from munro.rewards.instructions.ifbench.lists import CAPITALS
from munro.rewards.instructions.ifbench.pieces import STRIPPED, bare_words

NUMBER = re.compile(r"\d+")
MULTIPLES = [str(number) for number in range(14, 51, 7)]
DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})")
LIFE = range(1769, 1822)
"""Years of Napoleon's."""
DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
QUESTION = re.compile(r"Question \d+[.|):;]?\s*")
OPTION = re.compile(r"[A-Ea-e][.|)]\s*\w")
NUM_QUESTIONS, NUM_OPTIONS = 4, 5
LEAST_COUNTRIES = 52


@instruction("custom:multiples", "Count from 10 to 50, and write the multiples of 7 only.")
def multiples(text: str) -> bool:
    """The numbers in the text are these, in order."""
    return NUMBER.findall(text) == MULTIPLES


@instruction(
    "custom:mcq_count_length",
    "Write four multiple choice questions on the history of art in the 20th century, with five "
    'options each. Begin each with "Question" and its number, let each be longer than the one '
    "before, and explain nothing.",
)
def mcq_count_length(text: str) -> bool:
    """Four questions, each with five lines A to E, each longer than the one before."""
    if not text.startswith("Question"):
        return False
    parts = [part.strip() for part in QUESTION.split(text)]
    read = [_question(part) for part in parts if part]
    if len(read) != NUM_QUESTIONS or any(options != NUM_OPTIONS for _, options in read):
        return False
    return all(before < then for (before, _), (then, _) in pairwise(read))


def _question(part: str) -> tuple[int, int]:
    """The length of a question, and how many options it has."""
    asked, options = [], 0
    for line in part.split("\n"):
        if OPTION.match(line.strip()):
            options += 1
        elif not options:
            asked.append(line.strip())
    return len(" ".join(asked).strip()), options


@instruction(
    "custom:reverse_newline",
    "List the countries of Africa from the end of the alphabet to its beginning, one a line.",
)
def reverse_newline(text: str) -> bool:
    """From the line of Zimbabwe on, at least 52 lines, each at or before the last in order."""
    lines = [line for each in text.split("\n") if (line := each.strip(STRIPPED))]
    first = next((at for at, line in enumerate(lines) if "Zimbabwe" in line), len(lines))
    plain = [_plain(line) for line in lines[first:]]
    return len(plain) >= LEAST_COUNTRIES and plain == sorted(plain, reverse=True)


@instruction(
    "custom:word_reverse",
    "Which animal is the national symbol of the US? Answer in a sentence whose words stand in "
    "reverse order.",
)
def word_reverse(text: str) -> bool:
    """Read backwards by words, the bald eagle is in it."""
    return "bald eagle" in " ".join(reversed(bare_words(text.lower())))


@instruction(
    "custom:character_reverse",
    "Which animal is the national symbol of the US? Answer in a sentence whose letters stand in "
    "reverse order.",
)
def character_reverse(text: str) -> bool:
    """Read backwards by letters, the bald eagle is in it."""
    return "bald eagle"[::-1] in text.lower()


@instruction(
    "custom:european_capitals_sort",
    "Name the capitals of Europe north of 45 degrees, apart by commas, from north to south, "
    "without their countries.",
)
def european_capitals_sort(text: str) -> bool:
    """These, in this order, accents forgiven."""
    named = [capital for each in _plain(text).split(",") if (capital := each.strip())]
    return named == list(CAPITALS)


@instruction(
    "custom:date_format_list",
    "List the first days of Napoleon's battles as YYYY-MM-DD, apart by commas, and explain "
    "nothing.",
)
def date_format_list(text: str) -> bool:
    """Dates of his lifetime in that form; which ones is not looked at."""
    return all(_is_date(each.strip()) for each in text.strip().split(","))


def _is_date(text: str) -> bool:
    match = DATE.fullmatch(text)
    if match is None:
        return False
    year, month, day = map(int, match.groups())
    return year in LIFE and 1 <= month <= 12 and 1 <= day <= DAYS[month - 1]


def _plain(text: str) -> str:
    """Accents left out, and all that is no ASCII then."""
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
