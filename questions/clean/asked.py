"""What a question asks: how many things, and whether one of them is a proof."""

from __future__ import annotations

import re

PROOF = re.compile(
    r"\b(?:prove|disprove)\b|\bshow(?:,[^,]{1,40},)?\s+(?:that|the|why|how|there)\b|"
    r"\b(?:verify|deduce|demonstrate|establish|argue|conclude)\s+that\b|"
    r"\b(?:give|write|provide|supply|find|complete|sketch)\b[^.?!]{0,40}\bproof\b|\bproofs?\s*[?:]",
    re.I,
)
OPTION = re.compile(r"(?:^|\s)\(?([A-E])[.)]\s+(?=\S)")
VERBS = (
    r"(?:find|compute|calculate|determine|evaluate|solve|simplify|estimate|give|state|name|list|write|"
    r"expand|factor(?:i[sz]e)?|differentiate|integrate|convert|count|express|add|subtract|multiply|"
    r"divide|remove|sort|spell|decrypt|prove|show|verify|explain|describe|draw|sketch|derive|predict|"
    r"identify)"
)
NEXT = (
    r"(?:please|now|then|also|next|first|second|third|finally|hence|and|moreover|furthermore|"
    r"additionally|further)"
)
ORDERS = re.compile(rf"^\W{{0,4}}(?:{NEXT}\b\W*){{0,2}}(?P<verb>{VERBS})\b", re.I)
SAYS_HOW = re.compile(r"^(?:give|state|write|express|list|name|show|round|explain)$", re.I)
HOW = re.compile(
    r"\b(?:answers?|results?|units?|formats?|forms?|decimals?|digits?|figures?|notation|fractions?|"
    r"full|numbers?|steps?|work(?:ing)?|reasoning|why|separated)\b",
    re.I,
)
SENTENCE = re.compile(
    r"(?<=[.?!;])\s+|(?<=[:)\]-])\s+(?=[A-Z])|\n+|(?<=[\w)\]=])\s+(?=(?:What|Which|How|Why|Find|Calculate|"
    r"Compute|Determine|Evaluate|Solve|Simplify|Expand|(?:State|Name|Give|Count)\s+the)\s)"
)
AND_THEN = re.compile(
    rf"\b{NEXT}\W+(?:{NEXT}\W+)?(?:find|compute|calculate|determine|evaluate|solve)\b", re.I
)
IF_SO = re.compile(r",\s*(?:then\s+)?(?:find|compute|calculate|determine|estimate)\b", re.I)
"""As in "If there were 54, calculate ..."."""
ROW = re.compile(r"\d,\s*\?$")
"""As in "2, 4, 8, ?"."""
LEAST_ASKED = 3
"""Words of a question in its own right; "Why?" goes with the one before it."""
NUMBERED = re.compile(r"(?:(?<=\s)|^)\(?([A-Ha-h]|i{1,3}|iv|[1-9])[.)]\s+(?=\S)")
FIRST_TWO = ({"a", "b"}, {"i", "ii"}, {"1", "2"}, {"A", "B"})


def several(question: str) -> str:
    """The second thing that a question asks, empty where it asks one."""
    if len(OPTION.findall(question)) < 3:
        parts = {found[1] for found in NUMBERED.finditer(question)}
        for both in FIRST_TWO:
            # a list of what is given, and options, begin further on
            if both <= parts and ("a" in both or NUMBERED.match(question.strip())):
                return f"parts {' and '.join(sorted(both))}"
    asking = [one for one in SENTENCE.split(question) if _asks(one)]
    if len(asking) >= 2:
        return asking[1]
    further = AND_THEN.search(asking[0], 1) if asking else None
    return further[0] if further else ""


def _asks(sentence: str) -> bool:
    """Whether a sentence asks for something, and does not merely say in which form."""
    if ROW.search(sentence) or IF_SO.search(sentence):
        return True
    if sentence.rstrip("\"')] ").endswith("?"):
        if re.match(r"\W*(?:what|which|how|who|where|when)\s+\w+\s", sentence, re.I):
            return True
        return len(re.findall(r"[^\W\d_]{2,}", sentence)) >= LEAST_ASKED
    found = ORDERS.match(sentence)
    if found is None or len(sentence.split()) < LEAST_ASKED:
        return False
    if not SAYS_HOW.match(found["verb"]) or re.search(r"\bfollowing\b", sentence):
        return True
    return HOW.search(sentence) is None
