"""Words by which a question speaks of what it does not hold: a figure, another exercise."""

from __future__ import annotations

import re

SEEN = (
    r"(?:fig(?:ure|s)?\.?|diagram|graph|plot|chart|picture|photo(?:graph)?|sketch|drawing|illustration|"
    r"schematic|table|image|circuit)"
)
NUMBERED = (
    r"(?:fig(?:ure|s)?\.?|diagram|graph|table|chart|map|photo(?:graph)?|plate|exercises?|problems?|"
    r"questions?|examples?|theorem|lemma|corollary|proposition|definition|equations?|eqs?\.|eqn\.?|"
    r"sections?|sec\.|chapters?|ch\.|pages?|appendix|part)"
)
WHERE = (
    r"(?:above|below|earlier|opposite|overleaf|(?:at|on|to)\s+(?:the\s+)?(?:right|left|next\s+page|"
    r"previous\s+page|facing\s+page))"
)
PATTERNS = (
    # Fig. 3, Exercise 12a, part (b), Plate II
    rf"\b{NUMBERED}\s*\(?(?:\d+(?:[.-]\d+)*[a-z]?\b|\([a-z]\))",
    r"\b(?:fig(?:ure)?\.?|table|plate|chart|appendix|chapter|section)\s+[ivx]{1,5}\b",
    # shown above, as pictured, the table below
    r"\b(?:shown|pictured|drawn|sketched|given|described|defined|stated|listed|mentioned|discussed)\s+"
    rf"(?:in\s+the\s+\w+\s+)?{WHERE}\b",
    r"\bas\s+(?:pictured|drawn|sketched|illustrated|depicted)\b",
    rf"\b(?:{SEEN}|map|data)\s+(?:is\s+|are\s+)?{WHERE}\b",
    # the following figure, the previous exercise
    r"\b(?:accompanying|adjacent|attached|following|above|previous|preceding|last)\s+"
    rf"(?:{SEEN}|exercise|problem|question|part|result|example)\b",
    # in the diagram, see the table, off the chart; but not the graph of a function
    r"\bin\s+the\s+(?:fig(?:ure)?|diagram|sketch|picture|drawing)\b",
    rf"\b(?:see|use|using|refer(?:ring)?\s+to|look(?:ing)?\s+at|study|examine|consult)\s+(?:the\s+)?{SEEN}(?!\s+of)\b",
    r"\b(?:from|off)\s+the\s+(?:graph|plot|chart|fig(?:ure)?|diagram|sketch|drawing)\b(?!\s+of)",
    r"\b(?:see|cf\.)\s+(?:also\s+)?(?:on\s+)?(?:pp?\.\s*\d|the\s+(?:text|book)\b)",
    r"\b(?:refer\s+to|use)\s+(?:the\s+|your\s+)?(?:text|book)\b",
    r"\b(?:your|the)\s+(?:textbook|class\s+notes|previous\s+answer)\b",
)
ELSEWHERE = re.compile("|".join(PATTERNS), re.I)
IN_ANSWER = re.compile(r"\b(?:exercise|problem|fig(?:ure)?\.?)\s*\d+", re.I)


def elsewhere(question: str, answer: str) -> str:
    """What a pair speaks of without holding it; empty where it holds all that it speaks of."""
    found = ELSEWHERE.search(question) or IN_ANSWER.search(answer)
    return found[0] if found else ""
