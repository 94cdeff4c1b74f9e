"""Hostile text in front of a judge: fenced, defused, clipped, and flagged where it talks back.

A policy is paid for what a judge says, so it will learn to talk to the judge if that works. Four
things stand against it: each request has marks around its material with a code that nobody could
know when the text was written; the texts that end a turn in chat formats are broken by a space, so
that a template does not take them for its own; a text is cut in its middle, and never so that its
end (or beginning) could be hidden; and text that addresses a judge is named in the grade.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence

CHAT_MARK = re.compile(
    # one vocabulary's marks each: <|im_end|>, DeepSeek's, Llama 2's, Gemma's
    r"<\|(?=[^<>|\s]{1,60}\|>)"
    r"|<\uff5c(?=[^<>\uff5c\s]{1,60}\uff5c>)"
    r"|<(?=/?(?:s|bos|eos|pad|unk|(?:start|end)_of_turn)>)"
    r"|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_RESULTS)\])"
    r"|<(?=<SYS>>|</SYS>>)",
    re.IGNORECASE,
)

BLANKS, LINE_ENDS = re.compile(r"[^\S\n]+"), re.compile(r" ?\n\s*")
# for text whose blanks and line ends are single; no repetition is without a bound, because the text
# is written by who would like this to take forever
JUDGE_DIRECTED = re.compile(
    r"""
    \b(?:ignore|disregard|forget|override|do\snot\sfollow)\b[^.\n]{0,40}
        \b(?:previous|prior|above|earlier|all|any|your|the|system)\b[^.\n]{0,30}
        \b(?:instructions?|prompts?|rules?|rubrics?|criteri(?:a|on)|guidelines?)\b
    | \b(?:dear|attention|(?:note|message)\sto(?:\sthe)?|hey|hello|hi)\W{1,3}
        (?:the\s)?(?:ai\s)?(?:judge|grader|evaluator|reviewer|rater|scorer|assessor)\b
    | \b(?:as|to|for|you\sare)\s(?:the|an?|this)\s(?:(?:ai|automatic|automated|llm)\s)?
        (?:judge|grader|evaluator|rater|scorer)\b[^.\n]{0,20}[,:]
    | \b(?:judge|grader|evaluator|rater|scorer)s?\s?(?::|,?\s(?:please|you|should|must|will)\b)
    | \b(?:give|award|assign|grant|return|output|answer|respond\swith|mark|rate|score|grade)\b
        [^.\n]{0,25}\b(?:me|this|my|the|it)\b[^.\n]{0,25}
        \b(?:full\s(?:marks?|credit|score|points)|(?:highest|maximum|top|perfect|best)\s
        (?:score|marks?|rating|grade|reward)|as\s(?:correct|compliant|passed|passing))
    | \b(?:full\s(?:marks|credit)|maximum\s(?:score|reward)|perfect\sscore)\b[^.\n]{0,40}
        \b(?:please|must|should|is\sdeserved|deserves?)\b
    | ["'](?:verdict|score|compliant|factuality|satisfied|is_satisfied|best|engagement)["']\s?:
    | \bverdict\s?[:=]\s?["']?(?:yes|correct|pass|2|true)\b
    | ^\s?(?:\#{1,6}\s?)?(?:system|assistant|user)\s?(?:prompt|message)?\s?:\s
    | \bnew\s(?:system\s)?instructions?\s?:
    | \[(?:begin|end)\s(?:response|policy|request|question|reference|criterion|guide|context
        |candidate|turn)\b
    | \bend\sof\s(?:the\s)?(?:response|submission|material|student(?:'s)?\sanswer)\b
    """,
    re.IGNORECASE | re.VERBOSE | re.MULTILINE,
)

SCANNED_CHARS = 50_000


def new_code() -> str:
    """The code of one request's marks: 64 random bits."""
    return secrets.token_hex(8)


def fence(label: str, text: str, code: str) -> str:
    """`text` between two marks that carry `code`; should it hold the code, that is taken out."""
    while code in text:  # taking one out may put another together
        text = text.replace(code, "")
    return f"[BEGIN {label} {code}]\n{text}\n[END {label} {code}]"


def defuse(text: str, marks: Sequence[str] = ()) -> str:
    """What may be sent: UTF-8, with the marks of chat formats broken by a space.

    Args:
        text: as a model wrote it, lone surrogates included.
        marks: texts that the judge's own tokenizer treats as more than text.
    """
    text = text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "\ufffd")
    text = CHAT_MARK.sub(lambda match: match[0] + " ", text)
    for mark in marks:
        if len(mark) > 1 and not mark.isspace():
            text = text.replace(mark, f"{mark[0]} {mark[1:]}")
    return text


def clip(text: str, most: int) -> str:
    """`text`, or its first and last `most / 2` characters and how much was left out."""
    if len(text) <= most:
        return text
    half = most // 2
    left_out = len(text) - 2 * half
    return f"{text[:half]}\n[... {left_out:,} characters left out here ...]\n{text[-half:]}"


def addresses_judge(text: str) -> bool:
    """Whether a response seems to speak to its judge, announce its verdict, or fake a turn.

    A flag for filters and reports, not a verdict: a text about judges may set it off. Of a long
    text, beginning and end are looked at.
    """
    seen = text if len(text) <= SCANNED_CHARS else clip(text, SCANNED_CHARS)
    even = LINE_ENDS.sub("\n", BLANKS.sub(" ", seen))
    return bool(CHAT_MARK.search(seen) or JUDGE_DIRECTED.search(even))
