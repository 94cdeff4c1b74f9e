"""Pictures of pages: scans and photographs, one page each, for a reader of scans."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import ClassVar

from munro.questions.parse.format import MOST_PICTURE, Format, RawPage, Unreadable

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
MOST_PIXELS = 100_000_000
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""Marks of a JPEG after which its size stands."""


class Image(Format):
    """PNG and JPEG files; they hold no text, so every one needs a reader."""

    suffixes: ClassVar[tuple[str, ...]] = (".png", ".jpg", ".jpeg")

    @classmethod
    def looks_like(cls, head: bytes) -> bool:
        """Their first bytes."""
        return head.startswith((PNG, JPEG))

    @classmethod
    def count(cls, file: str) -> int:  # noqa: ARG003 - a picture is a page
        """Always one."""
        return 1

    @classmethod
    def pages(cls, file: str, first: int, after: int, most: int) -> list[RawPage]:  # noqa: ARG003
        """The page, without a text."""
        if not first <= 0 < after:
            return []
        return [{"text": "", "headings": [], "problem": "needs_ocr: a picture"}]

    @classmethod
    def picture(cls, file: str, number: int, dpi: int) -> bytes:  # noqa: ARG003 - as it is
        """The file."""
        raw = Path(file).read_bytes()
        if len(raw) > MOST_PICTURE:
            raise Unreadable("too large", f"{len(raw):,} bytes, at most {MOST_PICTURE:,}")
        width, height = _size(raw)
        if not 0 < width * height <= MOST_PIXELS:
            raise Unreadable("too large", f"{width:,} x {height:,} pixels")
        return raw


def _size(raw: bytes) -> tuple[int, int]:
    """Pixels across and down, as the file itself says."""
    if raw.startswith(PNG) and len(raw) >= 24:
        width, height = struct.unpack(">II", raw[16:24])
        return width, height
    at = 2
    while raw.startswith(JPEG) and at + 9 <= len(raw) and raw[at] == 0xFF:
        mark, length = raw[at + 1], int.from_bytes(raw[at + 2 : at + 4])
        if mark in FRAMES:
            height, width = struct.unpack(">HH", raw[at + 5 : at + 9])
            return width, height
        at += 2 + max(length, 2)
    raise Unreadable("damaged", "it does not say how large it is")
