"""Small filters, each with a name: why a pair is no question, and what shows it.

They look for what is there, never for what is missing; what none of them sees is kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from munro.questions.config import CurateConfig

Filter = Callable[[str, str, CurateConfig], str]
"""(question, answer, config) to what shows it, empty where there is nothing."""

EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){0,3}\.[A-Za-z]{2,10}\b")
PHONE = re.compile(
    r"(?<![\w.])\+\d{1,3}(?:[\s.-]?\d{2,4}){2,4}(?!\w)|"
    r"(?<![\w.])(?:\+\d{1,3}[\s.-]?)?(?:\(\d{2,4}\)[\s.-]?|\d{3,4}[\s.-])\d{3,4}[\s.-]\d{3,4}(?!\w|\.\d)"
)
CALL = re.compile(r"\b(?:phone|call|tel|telephone|fax|mobile|ring)\b", re.I)
ELSEWHERE = re.compile(
    r"\b(?:fig(?:ure|s)?\.?|diagram|graph|table|chart|map|photo(?:graph)?|plate)\s*\(?\d+(?:[.-]\d+)*[a-z]?\b"
    r"|\b(?:exercise|problem|question|example|theorem|lemma|corollary|proposition|definition|"
    r"equation|eqs?\.|eqn\.?|section|chapter|page|appendix|part)\s*\(?(?:\d+(?:\.\d+)*[a-z]?|\([a-z]\))"
    r"|\b(?:shown|pictured|drawn|given|described|defined|stated|listed|mentioned|discussed)\s+"
    r"(?:in\s+the\s+\w+\s+)?(?:above|below|earlier|at\s+the\s+(?:right|left)|on\s+the\s+(?:right|left))\b"
    r"|\b(?:the|this|that|see|use)\s+(?:accompanying|adjacent|following|above|previous|preceding|last)"
    r"\s+(?:fig(?:ure)?|diagram|graph|table|exercise|problem|question|part|result|example)\b"
    r"|\bin\s+the\s+(?:fig(?:ure)?|diagram|sketch|picture|drawing)\b"
    r"|\b(?:see|use|refer\s+to)\s+(?:the\s+)?(?:fig(?:ure)?|diagram|table|graph|text|book)\b"
    r"|\b(?:your|the)\s+(?:textbook|class\s+notes|previous\s+answer)\b",
    re.I,
)
SENTINELS = re.compile(
    r"^\W*(?:proof|not\s*found|n/?a|none|null|nil|unknown|omitted|see\s+(?:text|solution|above|below|"
    r"proof|book|figure)|answers?\s+(?:will\s+)?var(?:y|ies)|varies|no\s+answer|not\s+(?:given|available)|"
    r"left\s+to\s+the\s+reader|tbd|todo|\?+|-+|open[- ]ended|essay)?\W*$",
    re.I,
)
PROOF = re.compile(
    r"\b(?:prove|disprove)\b|\bshow\s+(?:that|the|why|how)\b|\bverify\s+that\b|\bdeduce\s+that\b",
    re.I,
)
ASKS = re.compile(
    r"\b(?:what|which|how|why|when|where|who|find|compute|calculate|determine|evaluate|solve|simplify|"
    r"estimate|give|state|name|list|write|expand|factor(?:ise|ize)?|differentiate|integrate|convert)\b",
    re.I,
)
NUMBERED = re.compile(r"(?:(?<=\s)|^)\(?([a-h]|i{1,3}|iv)[.)]\s+(?=\S)")
TOLD = re.compile(r"\b(?:the\s+)?(?:answer|solution|result)\s+(?:is|=|:)\s*", re.I)
LETTER = re.compile(r"^\(?[A-Ea-e]\)?[.)]?$")
OPTION = re.compile(r"(?:^|\s)\(?([A-E])[.)]\s+(?=\S)")
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
    return repr(answer) if SENTINELS.match(answer) else ""


def is_personal(question: str, answer: str, config: CurateConfig) -> str:  # noqa: ARG001
    """An address or a telephone number."""
    both = f"{question}\n{answer}"
    if found := EMAIL.search(both):
        return found[0]
    found = PHONE.search(both)
    if found and (found[0].startswith(("+", "(")) or "-" in found[0] or CALL.search(both)):
        return found[0]
    return ""


def refers_elsewhere(question: str, answer: str, config: CurateConfig) -> str:  # noqa: ARG001
    """A figure, a table, another exercise: something that the question does not hold."""
    found = ELSEWHERE.search(question)
    if found is None:
        found = re.search(r"\b(?:exercise|problem|fig(?:ure)?\.?)\s*\d+", answer, re.I)
    return found[0] if found else ""


def tells_the_answer(question: str, answer: str, config: CurateConfig) -> str:  # noqa: ARG001
    """The answer stands in the question, as an answer."""
    bare = _bare(answer)
    if not bare:
        return ""
    for found in TOLD.finditer(question):
        if _bare(question[found.end() : found.end() + len(answer) + 3]).startswith(bare):
            return question[found.start() : found.end() + len(answer)]
    words = WORDS.findall(answer)
    if len(bare) >= 12 and len(words) >= 3 and bare in _bare(question):
        return answer
    return ""


def asks_twice(question: str, answer: str, config: CurateConfig) -> str:  # noqa: ARG001
    """Several questions in one, of which an answer can be right in part."""
    parts = NUMBERED.findall(question)
    if "a" in parts and "b" in parts and len(OPTION.findall(question)) < 3:
        return "parts a) and b)"
    marks = [one for one in re.split(r"(?<=\?)\s+", question) if one.endswith("?")]
    asking = [one for one in marks if ASKS.search(one)]
    if len(asking) >= 2:
        return asking[1]
    commands = re.findall(
        r"(?:^|[.;?]\s+|\band\s+(?:then\s+)?)(?:find|compute|calculate|determine|evaluate|solve|state)\b",
        question,
        re.I,
    )
    return f"{len(commands)} things to do" if len(commands) + len(asking) >= 2 and commands else ""


def is_letter_alone(question: str, answer: str, config: CurateConfig) -> str:  # noqa: ARG001
    """A letter, and no options that it could be one of."""
    return answer if LETTER.match(answer.strip()) and len(OPTION.findall(question)) < 2 else ""


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


def _bare(text: str) -> str:
    return "".join(WORDS.findall(text.casefold()))
