"""PDF by PDFium (pypdfium2): the text layer, page by page, and what it cannot say."""

from __future__ import annotations

from typing import Any, ClassVar

from munro.questions.parse.format import Format, RawPage, Unreadable

FEW = 20
"""Characters under which a page with an image on it is an image."""
REASONS = {
    1: "cannot be read",
    2: "cannot be read",
    3: "damaged",
    4: "encrypted",
    5: "encrypted",
    6: "damaged",
}
"""By PDFium's codes: unknown, file, format, password, security, page."""


class Pdf(Format):
    """PDF files with a text layer; pages without one are named."""

    suffixes: ClassVar[tuple[str, ...]] = (".pdf",)

    @classmethod
    def looks_like(cls, head: bytes) -> bool:
        """Readers take up to a kilobyte of anything before the header."""
        return b"%PDF-" in head

    @classmethod
    def count(cls, file: str) -> int:
        """As PDFium counts: a page tree that leads back to itself has what it finds before that."""
        with _opened(file) as document:
            return len(document)

    @classmethod
    def pages(cls, file: str, first: int, after: int, most: int) -> list[RawPage]:
        """The text in the order in which the file shows it."""
        with _opened(file) as document:
            return [_page(document, number, most) for number in range(first, after)]


def _opened(file: str) -> Any:
    import pypdfium2

    try:
        return pypdfium2.PdfDocument(file)
    except pypdfium2.PdfiumError as error:
        code = getattr(error, "err_code", None)
        raise Unreadable(REASONS.get(code or 0, "damaged"), str(error)) from None


def _page(document: Any, number: int, most: int) -> RawPage:
    import pypdfium2

    found: RawPage = {"text": "", "headings": [], "problem": ""}
    try:
        page = document[number]
        words = page.get_textpage()
        count = words.count_chars()
        if count > most:
            found["problem"] = f"too much text: {count:,} characters"
        else:
            found["text"] = words.get_text_range() if count else ""
        if not found["problem"] and len(found["text"].strip()) < FEW and _has_image(page):
            found["problem"] = "needs_ocr: only an image"
    except pypdfium2.PdfiumError as error:
        found["problem"] = f"damaged: {error}"
    return found


def _has_image(page: Any) -> bool:
    import pypdfium2.raw as pdfium

    kinds = (pdfium.FPDF_PAGEOBJ_IMAGE, pdfium.FPDF_PAGEOBJ_SHADING)
    return any(True for _ in page.get_objects(filter=kinds, max_depth=4))
