"""The final answer of a reply, as it is written there. Linear in its input, and bounded."""

from __future__ import annotations

import re

WINDOW_CHARS = 65_536
FALLBACK_WINDOW_CHARS = 4_000
SHORT_REPLY_CHARS = 60
MAX_BETWEEN_BOXES = 60

ANSWER_TAG = re.compile(r"<answer>((?:(?!<answer>).)*?)</answer>", re.DOTALL | re.IGNORECASE)
BOX_PARTS = re.compile(r"\\(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)
PHRASE = re.compile(
    r"\b(?:answer|correct (?:option|choice))(?:\*\*)?\s*(?:is\b\s*:?|[:=])(?:\*\*(?=\s))?\s*"
    r"(\S[^\n]{0,2000})",
    re.IGNORECASE,
)
CHINESE_PHRASE = re.compile(r"答案\s*(?:是|为|[:\uff1a])\s*(\S[^\n]{0,2000})")
FORMULA = re.compile(
    r"\$\$([^$]{1,2000})\$\$|(?<!\\)\$((?:\\\$|[^$\n]){1,2000})(?<!\\)\$|\\\(([^\n]{1,2000}?)\\\)|\\\[(.{1,2000}?)\\\]",
    re.DOTALL,
)
BOLD = re.compile(r"\*\*([^*\n]{1,200})\*\*|`([^`\n]{1,200})`")
PLAIN_NUMBER = re.compile(
    r"(?<![A-Za-z0-9_.])[-+\u2212]?\$?(?:\d{1,3}(?:,\d{3})+|\d+(?:,\d+)?)?(?:\.\d+|(?<=\d))"
    r"(?:[eE][-+]?\d+|\s?/\s?\d+(?:\.\d+)?)?\s?%?"
)
FINAL = re.compile(r"\bfinal answer\s*(?:is\b\s*:?|:)\s*(?=[$\\\d-])[^\n]{1,2000}", re.IGNORECASE)
SENTENCE = re.compile(
    r"[A-Z][a-z]*(?:\s+\S+){2,}\s+(?:is|are|was|equals|be)\s|(?:[A-Za-z]+\s+){3,}\S*\d"
)
WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{3,}")
ASIDE = re.compile(
    r"(?:[,;]\s+(?!and\b|or\b)(?=[a-z]+ [a-z])|[.!]\s+(?=[A-Z][a-z]*\b)|\s+(?:because|since|as)\s"
    r"|\.\s*$|\s*<\|)"
)
JOINING = re.compile(
    r"(?:\s|[,;$]|\\[,;() \[\]]|\\q?quad|\\text\s*\{[^{}]{0,40}\}|\band\b|\bor\b"
    r"|[A-Za-z]+_?\d*\s*=?\s)*"
)
LISTED = re.compile(r"\s*(?:,|\band\b|\bor\b)\s*(?:and\s+|or\s+)?\$")
QUOTE = re.compile(r"^\\?[\"\u201c]|\\?[\"\u201d](?=\.|$)")
CORRECTED = re.compile(
    r"\b(?:is|are|answer|gives?|get|has|have|not|so|thus|wait|but|no|instead|actually|rather|hence|therefore|correct|wrong)\b",
    re.IGNORECASE,
)


def extract(reply: str) -> str | None:
    """The final answer in a reply, or None where there is none.

    In this order: what the last `<answer>` holds; the last `\\boxed{}` whose braces balance, with
    those that it is listed with ("\\boxed{1} and \\boxed{2}"); what follows "answer is" or
    "answer:"; the last formula or number; a reply that is one short line. Thoughts (before
    `</think>`) do not count, a reply that never ends thinking holds no answer, and only the last
    65,536 characters are read.
    """
    text = _after_thoughts(reply)[-WINDOW_CHARS:]
    tagged = [match[1] for match in ANSWER_TAG.finditer(text)]
    if tagged:
        inside = tagged[-1].strip()
        return (_boxed(inside) or _phrase(inside) or inside) or None
    return _boxed(text) or _phrase(text) or _short(text) or _last_expression(text)


def last_number(reply: str) -> str | None:
    """The last number in a reply, None where there is none: of models that mark no answer.

    Thoughts do not count, nor what stands before the last 4,000 characters.
    """
    return _last_number(_after_thoughts(reply)[-FALLBACK_WINDOW_CHARS:], 0)


def _after_thoughts(reply: str) -> str:
    """What stands behind the last `</think>`; nothing where a thought begins that never ends."""
    text = reply.rpartition("</think>")[2]
    return "" if text.lstrip().startswith("<think>") else text


def _boxed(text: str) -> str | None:
    """Content of the last balanced box and of those listed with it, in one pass over the braces."""
    opened: list[tuple[int, int] | None] = []
    found: list[tuple[int, int, str]] = []
    for part in BOX_PARTS.finditer(text):
        token = part[0]
        if token == "{":
            opened.append(None)
        elif token == "}":
            start = opened.pop() if opened else None
            inside = text[start[1] : part.start()].strip() if start is not None else ""
            if start is not None and inside:
                found = [each for each in found if each[0] < start[0]]
                found.append((start[0], part.end(), inside))
        elif token.endswith("{") and len(token) > 2:
            opened.append((part.start(), part.end()))
    if not found:
        return None
    later = FINAL.search(text, found[-1][1])
    if later:  # "Final answer: 12", below boxes around steps
        return _phrase(later[0])
    together = [found[-1]]
    for box in reversed(found[:-1]):
        if not _are_listed(text[box[1] : together[0][0]]):
            break
        together.insert(0, box)
    return ", ".join(dict.fromkeys(inside for _, _, inside in together))


def _are_listed(between: str) -> bool:
    """Whether what stands between two boxes joins them: ", ", " and ", "$ or $"."""
    if len(between) > MAX_BETWEEN_BOXES or "\n" in between.strip("\n"):
        return False
    if CORRECTED.search(between) or re.search(r"[.!?:]\s", between):
        return False
    is_joined = "," in between or re.search(r"\band\b|\bor\b", between) is not None
    return (is_joined or not between) and JOINING.fullmatch(between) is not None


def _phrase(text: str) -> str | None:
    tail = text[-FALLBACK_WINDOW_CHARS:]
    phrases = [match[1] for pattern in (CHINESE_PHRASE, PHRASE) for match in pattern.finditer(tail)]
    if not phrases:
        return None
    rest = phrases[-1].strip()
    while within := PHRASE.search(rest):  # "Final answer: the answer is 4."
        rest = within[1].strip()
    rest = QUOTE.sub("", rest)
    formula = FORMULA.match(rest) or BOLD.match(rest)
    if formula and not LISTED.match(rest, formula.end()):
        return next(group for group in formula.groups() if group is not None).strip()
    aside = ASIDE.search(rest)
    if aside and aside.start() > 0:
        rest = rest[: aside.start()]
    if SENTENCE.match(rest):  # "The largest n is 34"
        return _last_expression(rest) or rest
    return rest.removesuffix(".").removesuffix("。").strip() or None


def _last_expression(text: str) -> str | None:
    tail = text[-FALLBACK_WINDOW_CHARS:]
    end, found = -1, None
    for formula in FORMULA.finditer(tail):
        end, found = formula.end(), next(group for group in formula.groups() if group is not None)
    found = _last_number(tail, max(end, 0)) or found
    return found.strip() or None if found else None


def _last_number(text: str, begin: int) -> str | None:
    found = None
    for number in PLAIN_NUMBER.finditer(text, begin):
        if any(letter.isdigit() for letter in number[0]):
            found = number[0].strip()
    return found


def _short(text: str) -> str | None:
    """A reply that is nothing but an answer: `**B**`, `\\frac{1}{2}`, `1 000`."""
    line = text.strip()
    bold = BOLD.fullmatch(line)
    if bold:
        return (bold[1] or bold[2]).strip() or None
    is_formula = line[:1] in tuple("\\-0123456789") and not FORMULA.search(line)
    if not is_formula or "\n" in line or len(line) > SHORT_REPLY_CHARS or WORD.search(line):
        return None
    return line or None
