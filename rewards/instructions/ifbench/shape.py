"""IFBench's `format`: options, lists, indents, nesting, emoji, titles, templates."""

from __future__ import annotations

import re
import string
from itertools import pairwise
from typing import Annotated

from munro.rewards.instructions.checkers import instruction
from munro.rewards.instructions.ifbench.emoji import is_emoji
from munro.rewards.instructions.ifbench.pieces import STRIPPED, bare, sentences, tokens

LETTERED = re.compile(r"\W{0,9}[aA]\W{0,9}[bB]\W{0,9}[cC]")
SEPARATORS = tuple(map(re.compile, ("/", r"\bor\b", ",")))
PAIRS = {")": "(", "]": "[", "}": "{"}
DEEP, QUOTED_DEEP = 5, 3
AROUND = (string.digits + string.punctuation).replace('"', "")
TEMPLATE = ("My Answer:", "My Conclusion:", "Future Outlook:")


def _options(text: str) -> str:
    if len(_parted(text)) < 2:
        raise ValueError("give two or more, apart by '/', 'or' or commas.")
    return text


@instruction("format:options", "Answer with one of these, and explain nothing: {options}")
def options(text: str, *, options: Annotated[str, _options]) -> bool:
    """One of them, in any case and punctuation; where they are a, b, c, exactly one of them."""
    listed = _parted(options)
    if LETTERED.match(options):
        return text in listed
    return text.strip(STRIPPED).lower() in {each.strip(STRIPPED).lower() for each in listed}


@instruction("format:newline", "Write every word on a line of its own.")
def newline(text: str) -> bool:
    """As many lines that hold more than punctuation as words."""
    plain = bare(text).strip()
    return sum(line != "" for line in plain.split("\n")) == len(plain.split())


@instruction("format:emoji", "End every sentence with an emoji.")
def emoji(text: str) -> bool:
    """An emoji stands last in each sentence, or first in what follows its mark."""
    found = [bare(sentence).strip() for sentence in sentences(text)]
    if not all(found):
        return False
    return all(
        any(map(is_emoji, sentence[-2:])) or is_emoji(after[:1])
        for sentence, after in zip(found, [*found[1:], ""], strict=True)
    )


@instruction(
    "format:parentheses", "Nest parentheses ([brackets {{and braces}}]) at least five deep."
)
def parentheses(text: str) -> bool:
    """Five are open at a time, in any mixture, and the innermost is closed rightly."""
    opened: list[str] = []
    deepest = 0
    for letter in text:
        if letter in "([{":
            opened.append(letter)
            deepest = max(deepest, len(opened))
        elif letter in PAIRS:
            if not opened or opened.pop() != PAIRS[letter]:
                opened, deepest = [], 0
            elif deepest >= DEEP:
                return True
    return False


@instruction(
    "format:quotes",
    "Quote within a quotation within a quotation, three deep, in double and single quotation "
    "marks by turns.",
)
def quotes(text: str) -> bool:
    """Marks that differ open three deep, and close again to the outermost."""
    opened: list[str] = []
    deepest = 0
    for letter in text:
        if opened and letter == opened[-1]:
            opened.pop()
            if deepest - len(opened) >= QUOTED_DEEP:
                return True
        elif letter in "\"'":
            opened.append(letter)
            deepest = max(deepest, len(opened))
    return False


@instruction("format:list", "Answer with a list of items, with {sep} in place of bullet points.")
def list_(text: str, *, sep: str) -> bool:
    """The mark stands there twice."""
    return text.count(sep) >= 2


@instruction(
    "format:sub-bullets",
    "Write bullet points with *, and under each at least one more with -.",
)
def sub_bullets(text: str) -> bool:
    """A dash stands between every asterisk and the next."""
    return all("-" in part for part in text.split("*")[1:])


@instruction(
    "format:no_bullets_bullets",
    "Write at least two sentences that end in full stops, and then at least two bullet points "
    "with *.",
)
def no_bullets_bullets(text: str) -> bool:
    """Two sentences before the first bullet point, two of those, and nothing behind but them."""
    before = bullets = 0
    is_over = False
    for line in map(str.strip, text.split("\n")):
        if line.startswith("*"):
            if before < 2:
                return False
            bullets, is_over = bullets + 1, True
        elif is_over:
            return False
        else:
            found = sentences(line)
            before, is_over = before + len(found), not found
    return bullets >= 2


@instruction("format:line_indent", "Indent every line more than the one before, like stairs.")
def line_indent(text: str) -> bool:
    """More spaces before each line than before the one above; empty lines do not count."""
    indents = [len(line) - len(line.lstrip(" ")) for line in text.split("\n") if line.strip()]
    return all(above < below for above, below in pairwise(indents))


@instruction(
    "format:quote_unquote", "Explain every quoted phrase outside of quotation marks, behind it."
)
def quote_unquote(text: str) -> bool:
    """No quotation follows another at once, and none stands last."""
    plain = text.replace("“", '"').replace("”", '"').replace("'\"'", "")
    plain = "".join(plain.split())
    return '""' not in plain and not plain.strip(AROUND).endswith('"')


@instruction(
    "format:thesis", "Begin each section with its thesis in italics, as HTML (<i>, or <em>)."
)
def thesis(text: str) -> bool:
    """One text in italics that is not empty, with something behind it."""
    opened = next((at for mark in ("<i>", "<em>") if (at := text.find(mark)) >= 0), -1)
    if opened < 0:
        return False
    closed = next((at for mark in ("</i>", "</em>") if (at := text.find(mark, opened)) >= 0), -1)
    return (
        closed >= 0 and bool(text[opened + 3 : closed].strip()) and bool(text[closed + 4 :].strip())
    )


@instruction("format:title_case", "Write All of It in Title Case.")
def title_case(text: str) -> bool:
    """No word begins small, but for single letters and names such as iPhone."""
    return not any(
        token[0].islower() and (token[1:].islower() or token[1:].isupper())
        for token in tokens(text)
    )


@instruction(
    "format:output_template",
    "Keep to this template: My Answer: [answer] My Conclusion: [conclusion] "
    "Future Outlook: [outlook]",
)
def output_template(text: str) -> bool:
    """All three marks stand there."""
    return all(mark in text for mark in TEMPLATE)


@instruction("format:no_whitespace", "Use no spaces, tabs or line breaks.")
def no_whitespace(text: str) -> bool:
    """None of any kind."""
    return not any(map(str.isspace, text))


def _parted(options: str) -> list[str]:
    separator = next((each for each in SEPARATORS if each.search(options)), SEPARATORS[-1])
    return [each.strip() for each in separator.split(options)]
