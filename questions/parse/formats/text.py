"""Plain text, Markdown and LaTeX: as they stand, a form feed between pages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

from munro.base_model.data.read.html import decoded
from munro.questions.parse.format import Format, RawPage, Unreadable

HEADING = re.compile(r"^(#{1,6})[ \t]+\S.*$", re.MULTILINE)
BINARY = 0.3
"""Share of control characters from which a file is no text."""


class Text(Format):
    """Text files."""

    suffixes: ClassVar[tuple[str, ...]] = (".txt", ".text", ".md", ".markdown", ".tex")

    @classmethod
    def looks_like(cls, head: bytes) -> bool:
        """Few control characters."""
        control = sum(byte < 32 and byte not in b"\t\n\r\f" for byte in head)
        return control <= BINARY * max(len(head), 1)

    @classmethod
    def count(cls, file: str) -> int:
        """Form feeds part pages."""
        return len(_parts(file))

    @classmethod
    def pages(cls, file: str, first: int, after: int, most: int) -> list[RawPage]:
        """As they stand."""
        return [_page(part, file, most) for part in _parts(file)[first:after]]


def _parts(file: str) -> list[str]:
    raw = Path(file).read_bytes()
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            return raw.decode("utf-16").split("\f")
        except UnicodeDecodeError as error:
            raise Unreadable("damaged", str(error)) from None
    return decoded(raw).split("\f")


def _page(part: str, file: str, most: int) -> RawPage:
    if len(part) > most:
        return {"text": "", "headings": [], "problem": f"too much text: {len(part):,} characters"}
    part = part.replace("\r\n", "\n").replace("\r", "\n")
    headings: list[int] = []
    if file.lower().endswith((".md", ".markdown")):
        for found in HEADING.finditer(part):
            headings += [found.start(), found.end(), len(found[1])]
    return {"text": part, "headings": headings, "problem": ""}
