"""PDF by PDFium (pypdfium2): the text layer, page by page, and what it cannot say."""

from __future__ import annotations

import struct
import zlib
from typing import Any, ClassVar

from munro.questions.parse.format import MOST_PICTURE, Format, RawPage, Unreadable

FEW = 20
"""Characters under which a page with an image on it is an image."""
LOCKED = (4, 5)
"""PDFium's codes for a password and for a security scheme that it does not know."""

INCH = 72
"""PDF's units in an inch."""
MOST_PIXELS = 40_000_000
SMALLER = 0.8
"""How much smaller a picture is drawn whose bytes are too many."""


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

    @classmethod
    def picture(cls, file: str, number: int, dpi: int) -> bytes:
        """Drawn in grey, as large as fits."""
        import pypdfium2

        with _opened(file) as document:
            try:
                page = document[number]
                scale = min(dpi / INCH, (MOST_PIXELS / max(_area(page), 1)) ** 0.5)
                while len(drawn := _drawn(page, scale)) > MOST_PICTURE:
                    scale *= SMALLER
            except pypdfium2.PdfiumError as error:
                raise Unreadable("damaged", str(error)) from None
            return drawn


def _area(page: Any) -> float:
    width, height = page.get_size()
    return float(width * height)


def _drawn(page: Any, scale: float) -> bytes:
    """A PNG of grey values."""
    bitmap = page.render(scale=scale, grayscale=True)
    rows = bitmap.to_numpy().reshape(bitmap.height, -1)[:, : bitmap.width]
    raw = b"".join(b"\x00" + row.tobytes() for row in rows)
    head = struct.pack(">IIBBBBB", bitmap.width, bitmap.height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(raw, 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def _opened(file: str) -> Any:
    import pypdfium2
    import pypdfium2.raw as pdfium

    # its last error stays until there is another one: without this a damaged file would be called
    # what the file before it was
    pdfium.FPDF_LoadMemDocument(b"x", 1, None)
    try:
        return pypdfium2.PdfDocument(file)
    except pypdfium2.PdfiumError as error:
        is_locked = getattr(error, "err_code", 0) in LOCKED
        if is_locked:
            raise Unreadable("encrypted", "it asks for a password") from None
        raise Unreadable("damaged", "PDFium cannot open it") from None


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
            found["unmapped"] = _unmapped(words, count)
        if not found["problem"] and len(found["text"].strip()) < FEW and _has_image(page):
            found["problem"] = "needs_ocr: only an image"
    except pypdfium2.PdfiumError as error:
        found["problem"] = f"damaged: {error}"
    return found


def _unmapped(words: Any, count: int) -> int:
    """Glyphs of fonts without a Unicode map: their text is a guess that looks like any other."""
    import pypdfium2.raw as pdfium

    return sum(pdfium.FPDFText_HasUnicodeMapError(words, at) == 1 for at in range(count))


def _has_image(page: Any) -> bool:
    import pypdfium2.raw as pdfium

    kinds = (pdfium.FPDF_PAGEOBJ_IMAGE, pdfium.FPDF_PAGEOBJ_SHADING)
    return any(True for _ in page.get_objects(filter=kinds, max_depth=4))
