"""Format: lists, highlights, sections, titles, JSON, placeholders, postscripts."""

from __future__ import annotations

import json
import re

from munro.rewards.instructions.checkers import instruction

PLACEHOLDER = re.compile(r"\[[^\[\]\n]*\]")
HIGHLIGHTS = (re.compile(r"\*[^\n*]*\*"), re.compile(r"\*\*[^\n*]*\*\*"))
"""Looked for one by one, so that three asterisks are both."""
FENCES = ("```json", "```Json", "```JSON", "```")
CHOICES = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
MARKERS = {
    "P.P.S": re.compile(r"p\.\s?p\.\s?s"),
    "P.S.": re.compile(r"p\.\s?s\."),
}
STEP = re.compile(r"\s{0,8}(\d{1,4})[.)]\s")


@instruction(
    "detectable_content:number_placeholders",
    "Contain at least {num_placeholders} placeholders in square brackets, such as [address].",
)
def number_placeholders(text: str, *, num_placeholders: int) -> bool:
    """At least so many texts in square brackets."""
    return len(PLACEHOLDER.findall(text)) >= num_placeholders


@instruction(
    "detectable_content:postscript",
    "At the end, add a postscript that starts with {postscript_marker}",
)
def postscript(text: str, *, postscript_marker: str) -> bool:
    """A postscript with that marker stands somewhere."""
    marker = postscript_marker.strip()
    if marker in MARKERS:
        return MARKERS[marker].search(text.lower()) is not None
    return marker.lower() in text.lower()


@instruction(
    "detectable_format:number_bullet_lists",
    "Contain exactly {num_bullets} bullet points in markdown, such as: * This is a point.",
)
def number_bullet_lists(text: str, *, num_bullets: int) -> bool:
    """Lines that begin with one asterisk or a dash; one that is nothing else takes in the next."""
    lines = [line.lstrip() for line in text.split("\n")]
    stars = at = 0
    while at < len(lines):
        is_bare = lines[at] == "*" and at + 1 < len(lines)
        stars += is_bare or (lines[at][:1] == "*" and lines[at][1:2] not in ("", "*"))
        at += 1 + is_bare
    return stars + sum(line.startswith("-") for line in lines) == num_bullets


@instruction(
    "detectable_format:constrained_response",
    "Answer with one of: My answer is yes. My answer is no. My answer is maybe.",
)
def constrained_response(text: str) -> bool:
    """One of the three answers stands there."""
    return any(choice in text for choice in CHOICES)


@instruction(
    "detectable_format:number_highlighted_sections",
    "Highlight at least {num_highlights} sections with markdown, as in *highlighted section*.",
)
def number_highlighted_sections(text: str, *, num_highlights: int) -> bool:
    """At least so many texts between asterisks, none of them empty."""
    found = [match.strip("*").strip() for each in HIGHLIGHTS for match in each.findall(text)]
    return sum(map(bool, found)) >= num_highlights


@instruction(
    "detectable_format:multiple_sections",
    "Have at least {num_sections} sections, the beginning of each marked with "
    "{section_spliter} X, X the number of the section.",
)
def multiple_sections(text: str, *, section_spliter: str, num_sections: int) -> bool:
    """At least so many marks with a number behind; "spliter" is how the argument was published."""
    return len(re.findall(rf"{re.escape(section_spliter)}\s?\d", text)) >= num_sections


@instruction("detectable_format:json_format", "Wrap the entire output in JSON format.")
def json_format(text: str) -> bool:
    """All of it is JSON, in a code fence or bare."""
    text = text.strip()
    for fence in FENCES:
        text = text.removeprefix(fence)
    try:
        json.loads(text.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


@instruction(
    "detectable_format:title",
    "Contain a title, wrapped in double angular brackets, such as <<poem of joy>>.",
)
def title(text: str) -> bool:
    """A title in double angular brackets, on one line and not empty."""
    for line in text.split("\n"):
        opened, closed = line.find("<<"), line.rfind(">>")
        if opened >= 0 and closed > opened and line[opened:closed].lstrip("<").strip("> "):
            return True
    return False


@instruction(
    "detectable_format:numbered_steps",
    "Give exactly {num_steps} numbered steps: 1. and so on, in order.",
)
def numbered_steps(text: str, *, num_steps: int) -> bool:
    """Lines numbered 1, 2, 3, ... Not IFEval's."""
    found = [int(match[1]) for line in text.split("\n") if (match := STEP.match(line))]
    return found == list(range(1, num_steps + 1))
