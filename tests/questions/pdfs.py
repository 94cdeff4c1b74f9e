"""PDF files written by hand: text at places, pages in order, and whatever a file can do wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

WIDTH, HEIGHT = 595, 842
Drawn = tuple[float, float, str]
"""Left, from the top, text."""


def pdf(pages: Sequence[Sequence[Drawn]], *, encrypted: bool = False) -> bytes:
    """Each page's texts in Helvetica, in the order given."""
    contents = [_content(page) for page in pages]
    return assembled(contents, extra="/Encrypt 4 0 R" if encrypted else "")


def assembled(contents: Sequence[bytes], *, resources: str = "", extra: str = "") -> bytes:
    """A file of pages with these content streams."""
    kids = " ".join(f"{5 + 2 * number} 0 R" for number in range(len(contents)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(contents)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        b"<< /Filter /Standard /V 1 /R 2 /O (%s) /U (%s) /P -4 >>" % (b"x" * 32, b"y" * 32),
    ]
    for number, content in enumerate(contents):
        objects.append(
            (
                f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {WIDTH} {HEIGHT}] "
                f"/Resources << /Font << /F1 3 0 R >> {resources} >> "
                f"/Contents {6 + 2 * number} 0 R >>"
            ).encode()
        )
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content))
    return with_objects(objects, extra)


def with_objects(objects: Sequence[bytes], extra: str = "") -> bytes:
    """Objects 1, 2, 3 ... with their table of places."""
    body, places = b"%PDF-1.4\n", []
    for number, one in enumerate(objects, 1):
        places.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, one)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    start = len(body)
    ident = "/ID [(0123456789abcdef) (0123456789abcdef)]"
    end = f"<< /Size {len(objects) + 1} /Root 1 0 R {ident} {extra} >>".encode()
    body += b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(objects) + 1, table)
    return body + b"trailer\n%s\nstartxref\n%d\n%%%%EOF\n" % (end, start)


def _content(page: Sequence[Drawn]) -> bytes:
    lines = [b"BT /F1 10 Tf"]
    for left, top, text in page:
        escaped = text.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")
        raw = escaped.encode("cp1252")
        lines.append(b"1 0 0 1 %.1f %.1f Tm (%s) Tj" % (left, HEIGHT - top, raw))
    return b"\n".join([*lines, b"ET"])


def columns(lines: Sequence[str], head: str, number: int, *, count: int) -> list[Drawn]:
    """A page: a running head, the lines in one or two columns, the number at the foot.

    Tabs in a line part the cells of a table, a narrow and a wide one by turns.
    """
    per = -(-len(lines) // count)
    width = (WIDTH - 100) / count
    drawn: list[Drawn] = [(50, 40, head)] if head else []
    for column in range(count):
        for row, line in enumerate(lines[column * per : (column + 1) * per]):
            cells = line.split("\t")
            pair = (width - 12) / -(-len(cells) // 2)
            for at, cell in enumerate(cells):
                left = 50 + column * width + (at // 2 + 0.2 * (at % 2)) * pair
                drawn.append((left, 70 + 13 * row, cell))
    return [*drawn, (WIDTH / 2, 810, str(number))]


def write(file: Path, pages: Sequence[Sequence[Drawn]]) -> Path:
    """The file, written."""
    file.write_bytes(pdf(pages))
    return file
