"""Small filters, each with a name: why a pair is no question, and what shows it.

They look for what is there, never for what is missing; what none of them sees is kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from munro.questions.clean.asked import OPTION, PROOF, several
from munro.questions.clean.elsewhere import elsewhere
from munro.questions.config import CurateConfig
from munro.rewards.math.answers import clean

Filter = Callable[[str, str, CurateConfig], str]
"""(question, answer, config) to what shows it, empty where there is nothing."""

EMAIL = re.compile(
    r"[\w.+-]{1,64}(?:@|\s?[\[({]\s?at\s?[\])}]\s?)[\w-]{1,63}(?:\.[\w-]{1,63}){0,3}\.[A-Za-z]{2,10}\b",
    re.I,
)
PHONE = re.compile(
    r"(?<![\w.])\+\d{1,3}(?:[\s.-]?\d{1,5}){2,6}(?!\w)|"
    r"(?<![\w.])(?:\+\d{1,3}[\s.-]?)?(?:\(\d{2,4}\)[\s.-]?|\d{3,4}[\s.-])\d{3,4}[\s.-]\d{3,4}(?!\w|\.\d)"
)
TRUNK = re.compile(r"(?<![\w.,:/-])0[1-9]\d{1,3}[\s/-]\d{3,}(?:[\s-]\d{2,}){0,2}(?![\w:])")
"""No number of mathematics begins with a 0."""
CALL = re.compile(
    r"\b(?:phone|call|tel|telephone|fax|mobile|ring|contact|whatsapp|hotline|helpline|cell|sms|text|reach)\b",
    re.I,
)
CALLED = re.compile(
    CALL.pattern + r"\W{0,3}(?:(?:is|at|us|me|on|number|nos?|under|my|the)\b\W{0,3}){0,3}"
    r"(?P<number>\+?\(?\d[\d\s./()-]{5,24}\d)",
    re.I,
)
DIGITS_OF_CALL, LEAST_PHONE = 7, 9
"""Digits at least: where a word says that a number is one to call, and where none does."""
SENTINELS = re.compile(
    r"^\W*(?:proof(?:\s+(?:omitted|above|below))?|not\s*found|n\W?/?\s*a|nan|none|null|nil|unknown|"
    r"omitted|missing|answers?\s+(?:will\s+|may\s+)?var(?:y|ies)|varies|to\s+be\s+determined|tbd|todo|"
    r"not\s+(?:given|available|applicable|provided)|left\s+to\s+the\s+reader|\?+|-+|"
    r"(?:no|an?|the)?\s*(?:final\s+)?(?:answer|solution)s?\s+(?:is\s+)?(?:not\s+)?"
    r"(?:given|provided|available|omitted)|no\s+(?:final\s+)?answer|open[- ]ended|essay|graph|"
    r"sketch|diagram)?\W*$"
    r"|^\W*(?:see|refer\s+to|cf\.|check)\s+\w",
    re.I,
)
TOLD = re.compile(
    r"\b(?:answers?|ans|a|solution|sol|results?|key|response|correct)\b[*_\s]*(?:is|are|was|will\s+be|"
    r"equals?|=|:|\.)[*_\s]*(?:that\s+)?"
    r"|\byou\s+(?:should|will|ought\s+to|must)\s+(?:get|find|obtain|have)\b[:\s]*",
    re.I,
)
IN_BRACKETS = re.compile(r"[\[({]([^\[\](){}]{1,400})[\])}]\W*$")
"""Behind everything else."""
SENTENCE_END = re.compile(r"(?<=[.?!])\s+")
LETTER = re.compile(r"^\(?[A-Ea-e]\)?[.)]?$")
NAMED_LETTER = re.compile(r"^(?:(?:option|choice|answer)\W{1,2})?\(?[A-Ea-e]\)?[.)]?$", re.I)
WORDS = re.compile(r"[^\W_]+")


def is_short(question: str, answer: str, config: CurateConfig) -> str:  # noqa: ARG001
    """Too little for a question."""
    return question if len(question) < config.min_characters else ""


def is_long(question: str, answer: str, config: CurateConfig) -> str:
    """Too much for a question, or for an answer that can be compared."""
    if len(question) > config.max_characters:
        return f"{len(question):,} characters of question"
    return f"{len(answer):,} characters of answer" if len(answer) > config.max_answer else ""


def has_no_answer(question: str, answer: str, config: CurateConfig) -> str:  # noqa: ARG001
    """A word that stands where an answer should."""
    return repr(answer) if SENTINELS.match(clean(answer)) else ""


def is_personal(question: str, answer: str, config: CurateConfig) -> str:  # noqa: ARG001
    """An address or a telephone number."""
    both = f"{question}\n{answer}"
    if found := EMAIL.search(both):
        return found[0]
    for found in CALLED.finditer(both):
        if sum(map(str.isdigit, found["number"])) >= DIGITS_OF_CALL:
            return found["number"]
    for found in PHONE.finditer(both):
        is_long = sum(map(str.isdigit, found[0])) >= LEAST_PHONE
        if (found[0].startswith("+") and is_long) or found[0][0] == "(":
            return found[0]
        if found[0][0] != "+" and ("-" in found[0] or CALL.search(both)):
            return found[0]
    trunk = TRUNK.search(both)
    return trunk[0] if trunk and sum(map(str.isdigit, trunk[0])) >= LEAST_PHONE else ""


def refers_elsewhere(question: str, answer: str, config: CurateConfig) -> str:  # noqa: ARG001
    """A figure, a table, another exercise: something that the question does not hold."""
    return elsewhere(question, answer)


def tells_the_answer(question: str, answer: str, config: CurateConfig) -> str:  # noqa: ARG001
    """The answer stands in the question, as an answer."""
    bare = _bare(answer)
    if not bare:
        return ""
    for found in TOLD.finditer(question):
        told = question[found.end() : found.end() + 2 * len(answer) + 8]
        if _begins_with(told, answer):
            return question[found.start() : found.end() + len(answer)]
    *before, last = SENTENCE_END.split(question.rstrip())
    bracket = IN_BRACKETS.search(question)
    for behind in (bracket[1] if bracket else "", last if before else ""):
        if _bare(behind) == bare:
            return behind
    words = WORDS.findall(answer)
    if len(bare) >= 12 and len(words) >= 3 and bare in _bare(question):
        return answer
    return ""


def asks_twice(question: str, answer: str, config: CurateConfig) -> str:  # noqa: ARG001
    """Several questions in one, of which an answer can be right in part."""
    return several(question)


def is_letter_alone(question: str, answer: str, config: CurateConfig) -> str:  # noqa: ARG001
    """A letter, and no options that it could be one of."""
    return answer if NAMED_LETTER.match(clean(answer)) and len(OPTION.findall(question)) < 2 else ""


FILTERS: dict[str, Filter] = {
    "too short": is_short,
    "too long": is_long,
    "no answer in its place": has_no_answer,
    "personal": is_personal,
    "a letter without options": is_letter_alone,
    "tells its answer": tells_the_answer,
    "refers to something that is not there": refers_elsewhere,
    "several questions in one": asks_twice,
}
"""In the order in which they are tried; the first that sees something is the reason."""


def type_of(question: str, answer: str, *, is_checkable: bool) -> str:
    """open, choice, proof, or words.

    Args:
        question: as kept.
        answer: as kept.
        is_checkable: whether rules can compare another answer with this one.
    """
    if len(set(OPTION.findall(question))) >= 2 and LETTER.match(answer.strip()):
        return "choice"
    if PROOF.search(question):
        return "proof"
    return "open" if is_checkable else "words"


def _begins_with(text: str, answer: str) -> bool:
    """Whether a text begins with an answer, as a whole, whatever the signs and spaces in them."""
    wanted = _bare(answer)
    held = ""
    for at, letter in enumerate(text):
        if letter.isalnum():
            held += letter.casefold()
            if held == wanted:
                return not text[at + 1 : at + 2].isalnum()
            if not wanted.startswith(held):
                return False
    return False


def _bare(text: str) -> str:
    return "".join(WORDS.findall(text.casefold()))
