"""Finding the program in a reply. Reads lines, runs nothing, and is linear in the text."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field

from munro.rewards.code.languages import language_of

FENCES = ("```", "~~~")


@dataclass(slots=True)
class _Block:
    tag: str
    """First word after the fence, in lower case."""
    indent: int
    lines: list[str] = field(default_factory=list)


def extract(reply: str, language: str = "python") -> str:
    """The program in a reply: the last fenced block of `language`, else the last fenced block
    without a language, else all of it. Thoughts (before `</think>`) do not count; a reply that
    never ends thinking holds no program.

    A block whose closing fence is missing goes to the end, as where a stop sequence took it.

    Raises:
        ValueError: no language is called that.

    Example:
        extract("Here it is:\\n```python\\nprint(6 * 7)\\n```\\nDone.")      # "print(6 * 7)\\n"
    """
    fences = language_of(language).fences
    _, end_of_thought, answer = reply.rpartition("</think>")
    if not end_of_thought and reply.lstrip().startswith("<think>"):
        return ""
    blocks = _blocks(answer)
    for tags in (fences, {""}):
        ours = [block for block in blocks if block.tag in tags]
        if ours:
            return "".join(ours[-1].lines)
    return answer


def _blocks(text: str) -> list[_Block]:
    """All fenced blocks, in order, their common indentation (inside a list, say) removed."""
    blocks: list[_Block] = []
    fence = ""
    for line in text.splitlines(keepends=True):
        mark = line.strip()
        if fence:
            if mark.startswith(fence) and not mark.strip(fence[0]):
                fence = ""
            else:
                blocks[-1].lines.append(_dedented(line, blocks[-1].indent))
        elif mark.startswith(FENCES):
            tag = mark.lstrip(mark[0])
            fence = mark[0] * (len(mark) - len(tag))
            words = tag.strip().strip("{}.").lower().split()
            indent = len(line) - len(line.lstrip())
            blocks.append(_Block(tag=words[0] if words else "", indent=indent))
    return blocks


def _dedented(line: str, indent: int) -> str:
    return line[indent:] if not line[:indent].strip() else line


def completed(prompt: str, program: str, entry_point: str) -> str:
    """A whole program from a prompt that opens a function and the model's text.

    A text that defines `entry_point` itself stands alone, after the prompt's imports and helpers;
    any other is taken for the function's body, indented as it should be.
    """
    if any(line.startswith(f"def {entry_point}(") for line in program.splitlines()):
        return f"{prompt.rstrip()}\n    pass\n\n\n{program}"
    return f"{prompt.rstrip()}\n{_indented(program)}"


def _indented(body: str) -> str:
    """A function's body with at least four spaces before each line."""
    body = body.expandtabs(4)
    lines = [line for line in body.splitlines() if line.strip()]
    margins = [len(line) - len(line.lstrip()) for line in lines] or [4]
    # replies often lose the spaces before their first line alone
    opens_block = lines and lines[0].endswith(":")
    is_bare = margins[0] == 0 and margins[1:2] >= [8 if opens_block else 4] and min(margins[1:]) > 0
    if is_bare:
        return "\n".join(["    " + lines[0], *lines[1:]]) + "\n"
    return body if margins[0] >= 4 else textwrap.indent(body, "    ")
