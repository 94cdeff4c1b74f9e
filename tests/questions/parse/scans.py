"""Pictures of pages: PDF files without a text layer, and models that are shown them."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from typing import Any

from tests.questions import pdfs


def picture_of(lines: Sequence[str], *, width: int = 1240, height: int = 1754) -> bytes:
    """Grey values of a page with these lines, drawn by PDFium."""
    import pypdfium2

    drawn = [(60.0, 80.0 + 28 * at, line) for at, line in enumerate(lines)]
    page = pypdfium2.PdfDocument(pdfs.pdf([drawn]).replace(b"/F1 10 Tf", b"/F1 16 Tf"))[0]
    bitmap = page.render(scale=width / pdfs.WIDTH, grayscale=True)
    rows = bitmap.to_numpy().reshape(bitmap.height, -1)[:height, :width]
    return bytes(rows.tobytes())


def scan(*pages: Sequence[str], width: int = 1240, height: int = 1754) -> bytes:
    """A PDF of pictures alone, a page of lines each."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [%s] /Count %d >>"
        % (b" ".join(b"%d 0 R" % (3 + 3 * at) for at in range(len(pages))), len(pages)),
    ]
    for at, lines in enumerate(pages):
        raw = zlib.compress(picture_of(lines, width=width, height=height))
        drawing = b"q 595 0 0 842 0 0 cm /Im Do Q"
        first = 3 + 3 * at
        objects += [
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents %d 0 R "
            b"/Resources << /XObject << /Im %d 0 R >> >> >>" % (first + 1, first + 2),
            b"<< /Length %d >>\nstream\n%s\nendstream" % (len(drawing), drawing),
            b"<< /Type /XObject /Subtype /Image /Width %d /Height %d /ColorSpace /DeviceGray "
            b"/BitsPerComponent 8 /Filter /FlateDecode /Length %d >>\nstream\n%s\nendstream"
            % (width, height, len(raw), raw),
        ]
    return pdfs.with_objects(objects)


def shown(body: Any) -> bytes:
    """The picture in a request."""
    (part,) = [one for one in body["messages"][0]["content"] if one["type"] == "image_url"]
    head, _, code = part["image_url"]["url"].partition(",")
    assert head in ("data:image/png;base64", "data:image/jpeg;base64")
    return base64.b64decode(code)
