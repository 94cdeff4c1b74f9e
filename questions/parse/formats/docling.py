"""Word, PowerPoint, EPUB and OpenDocument files, and PDF where asked for, by docling.

An extra (`pip install docling`), imported in the children alone. For PDF it wants models that it
takes from the hub, which children may not reach: fetch them before (`docling-tools models
download`), and give children room (`limits.memory_mb`, `limits.page_s`).
"""

from __future__ import annotations

import os
import tempfile
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, ClassVar

from munro.questions.parse.format import Format, RawPage, Unreadable
from munro.questions.parse.formats.pdf import Pdf
from munro.questions.parse.formats.text import HEADING

PACKAGE = "docling"
ZIP, PDF = b"PK\x03\x04", b"%PDF-"
MOST_WORDS = 160
"""Characters of what it says of a document that it cannot convert."""


class Docling(Format):
    """Documents as the Markdown that docling makes of them."""

    suffixes: ClassVar[tuple[str, ...]] = (".docx", ".pptx", ".epub", ".odt")

    @classmethod
    def lacking(cls) -> str:
        """The package."""
        if find_spec(PACKAGE) is None:
            return "it is read by docling, which is not installed: pip install docling"
        return ""

    @classmethod
    def looks_like(cls, head: bytes) -> bool:
        """A package of files, or a PDF."""
        return head.startswith(ZIP) or PDF in head

    @classmethod
    def count(cls, file: str) -> int:
        """Of a PDF its pages; anything else is one."""
        return Pdf.count(file) if _is_pdf(file) else 1

    @classmethod
    def pages(cls, file: str, first: int, after: int, most: int) -> list[RawPage]:
        """Each page by itself, formulas as docling writes them."""
        if not _is_pdf(file):
            return [_page(_converted(file).export_to_markdown(), most)][first:after]
        made = _converted(file, page_range=(first + 1, after))
        return [_page(made.export_to_markdown(page_no=at + 1), most) for at in range(first, after)]

    @classmethod
    def picture(cls, file: str, number: int, dpi: int) -> bytes:
        """Of a PDF, as PDFium draws it."""
        return (Pdf if _is_pdf(file) else Format).picture(file, number, dpi)


def _is_pdf(file: str) -> bool:
    return file.lower().endswith(".pdf")


def _converted(file: str, **options: Any) -> Any:
    try:
        return _converter().convert(file, **options).document
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - its own kinds are many, and most are the document's
        why = " ".join(str(error).split())[:MOST_WORDS]
        raise Unreadable("docling cannot read it", why or type(error).__name__) from None


@lru_cache(maxsize=1)
def _converter() -> Any:
    """One a child: it holds models."""
    # no file can be written here, and looking for a place to write one ends the import
    tempfile.tempdir = tempfile.tempdir or os.devnull
    return import_module("docling.document_converter").DocumentConverter()


def _page(text: str, most: int) -> RawPage:
    if len(text) > most:
        return {"text": "", "headings": [], "problem": f"too much text: {len(text):,} characters"}
    if "<!-- formula-not-decoded -->" in text:
        return {"text": "", "headings": [], "problem": "needs_ocr: docling left formulas out"}
    headings: list[int] = []
    for found in HEADING.finditer(text):
        headings += [found.start(), found.end(), len(found[1])]
    return {"text": text, "headings": headings, "problem": ""}
