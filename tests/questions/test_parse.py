"""Documents into pages, whatever a stranger's file does; one set of children for all of it."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from munro.questions.config import LimitsConfig, QuestionsConfig
from munro.questions.errors import QuestionsError
from munro.questions.parse.parsing import File, Parser, files_of
from munro.questions.stages import Outcome
from tests.questions import pdfs

LINE = [(50.0, 60.0, "A whole line of plain text.")]
CATALOG = b"<< /Type /Catalog /Pages 2 0 R >>"
FONT = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
PAGE = (
    b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] "
    b"/Resources << /Font << /F1 3 0 R >> >> /Contents 6 0 R >>"
)
ONE_PAGE = b"<< /Type /Pages /Kids [5 0 R] /Count 1 >>"


def one_page(font: bytes, stream: bytes, *more: bytes, filtered: str = "") -> bytes:
    body = b"<< /Length %d %s >>\nstream\n%s\nendstream" % (len(stream), filtered.encode(), stream)
    return pdfs.with_objects([CATALOG, ONE_PAGE, font, b"null", PAGE, body, *more])


def without_a_map() -> bytes:
    """Glyphs by number, and no word on what they mean: PDFium reads them as letters."""
    font = (
        b"<< /Type /Font /Subtype /Type0 /BaseFont /Own /Encoding /Identity-H "
        b"/DescendantFonts [7 0 R] >>"
    )
    glyphs = (
        b"<< /Type /Font /Subtype /CIDFontType2 /BaseFont /Own /FontDescriptor 8 0 R /DW 500 "
        b"/CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> >>"
    )
    look = (
        b"<< /Type /FontDescriptor /FontName /Own /Flags 4 /FontBBox [0 0 500 500] /Ascent 500 "
        b"/Descent 0 /ItalicAngle 0 /StemV 80 /CapHeight 500 >>"
    )
    text = b"BT /F1 10 Tf 50 700 Td <004100420043004400450046004700480049> Tj ET"
    return one_page(font, text, glyphs, look)


IMAGE = b"q 200 0 0 200 100 500 cm BI /W 2 /H 2 /BPC 8 /CS /G ID \x00\xff\xff\x00 EI Q"
BOMB = zlib.compress(b"0 0 m 1 1 l S\n" * 4_000_000, 9)
NESTED = b"[" * 1_000_000
BAD: dict[str, tuple[bytes, str, str]] = {
    "encrypted.pdf": (pdfs.pdf([LINE], encrypted=True), "encrypted", "password"),
    "scan.pdf": (pdfs.assembled([IMAGE]), "needs_ocr", "only an image"),
    "no_map.pdf": (without_a_map(), "needs_ocr", "9 of 9 glyphs"),
    "circle.pdf": (
        pdfs.with_objects([CATALOG, b"<< /Type /Pages /Kids [2 0 R 2 0 R] /Count 1000000000 >>"]),
        "damaged",
        "",
    ),
    "circle_below.pdf": (
        pdfs.with_objects(
            [
                CATALOG,
                b"<< /Type /Pages /Kids [3 0 R] /Count 2 >>",
                b"<< /Type /Pages /Parent 2 0 R /Kids [2 0 R] /Count 2 >>",
            ]
        ),
        "damaged",
        "page",
    ),
    "page.pdf": (b"<!doctype html><p>404, not found", "is no pdf", "404, not found"),
    "cut.pdf": (pdfs.pdf([LINE])[:300], "damaged", ""),
    "noise.pdf": (b"%PDF-1.4\n" + bytes(range(256)) * 40, "damaged", ""),
    "empty.pdf": (b"", "empty", ""),
    "bomb.pdf": (one_page(FONT, BOMB, filtered="/Filter /FlateDecode"), "", ""),
    "private.txt": ("\ue000\ue001\ue002 is the answer".encode(), "needs_ocr", "3 of 14 glyphs"),
    "binary.txt": (bytes(range(1, 9)) * 40, "is no text", ""),
    "picture.xcf": (b"gimp xcf", "no format for its name", ".xcf"),
    "letter.png": (b"<html>", "is no image", "<html>"),
}


@pytest.fixture(scope="module")
def parser() -> Iterator[Parser]:
    """Children with little time and memory."""
    with Parser(LimitsConfig(page_s=5, memory_mb=700, document_mb=20), workers=2) as parser:
        yield parser


def parsed(parser: Parser, path: Path) -> Outcome:
    config = QuestionsConfig.model_validate(
        {
            "out": "unused",
            "sources": [{"name": "s", "paths": [str(path), *_beside(path)]}],
            "limits": {"document_mb": 20},
        }
    )
    file = next(one for one in files_of(config) if one.path == path)
    return parser.parsed(file, file)


def _beside(path: Path) -> list[str]:
    other = path.parent / "z.txt"
    other.write_text("another document")
    return [str(other)]


@pytest.mark.parametrize("name", [name for name in BAD if name != "bomb.pdf"])
def test_a_bad_document_is_left_out_with_its_reason(
    name: str, parser: Parser, tmp_path: Path
) -> None:
    content, reason, evidence = BAD[name]
    (tmp_path / name).write_bytes(content)
    outcome = parsed(parser, tmp_path / name)
    if reason == "needs_ocr":  # the next stage lists it, or reads it
        assert evidence in outcome.kept[0].needs
    else:
        assert {one.reason for one in outcome.dropped} == {reason}
        assert evidence in outcome.dropped[0].evidence
    assert not any(page.text for page in outcome.kept)


@pytest.mark.slow
def test_a_page_that_expands_is_given_up_and_its_reader_replaced(tmp_path: Path) -> None:
    (tmp_path / "bomb.pdf").write_bytes(BAD["bomb.pdf"][0])
    limits = LimitsConfig(page_s=1, memory_mb=256)
    with Parser(limits, workers=1) as small:
        file = File(source="s", path=tmp_path / "bomb.pdf", form="pdf", digest="d")
        outcome = small.parsed(file, file)
        assert [(one.page, one.reason) for one in outcome.dropped] in (
            [(1, "takes too long")],
            [(1, "ends its reader")],
            [(1, "takes too much memory")],
        )
        (tmp_path / "good.pdf").write_bytes(pdfs.pdf([LINE]))
        good = File(source="s", path=tmp_path / "good.pdf", form="pdf", digest="e")
        assert small.parsed(good, good).kept[0].text == LINE[0][2]


def test_a_million_brackets_are_survived(parser: Parser, tmp_path: Path) -> None:
    page = b"<< /Type /Page /Parent 2 0 R /X %s%s >>" % (NESTED, b"]" * 1_000_000)
    objects = [CATALOG, b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>", page]
    (tmp_path / "deep.pdf").write_bytes(pdfs.with_objects(objects))
    assert [page.text for page in parsed(parser, tmp_path / "deep.pdf").kept] == [""]


def test_a_file_of_two_gigabytes_is_not_opened(parser: Parser, tmp_path: Path) -> None:
    with (tmp_path / "large.pdf").open("wb") as large:
        large.write(b"%PDF-1.4")
        large.truncate(2_000_000_000)
    (dropped,) = parsed(parser, tmp_path / "large.pdf").dropped
    assert dropped.reason == "too large"
    assert "2,000 MB" in dropped.evidence


def test_pages_come_in_order_with_one_bad_one_named(parser: Parser, tmp_path: Path) -> None:
    texts = [f"BT /F1 10 Tf 50 700 Td (Line of page {n}, whole) Tj ET".encode() for n in (1, 2, 3)]
    (tmp_path / "book.pdf").write_bytes(pdfs.assembled([texts[0], IMAGE, texts[2]]))
    outcome = parsed(parser, tmp_path / "book.pdf")
    assert [page.text for page in outcome.kept] == [
        "Line of page 1, whole",
        "",
        "Line of page 3, whole",
    ]
    assert outcome.dropped == []
    assert [page.number for page in outcome.kept if page.needs] == [2]


def test_text_that_is_no_text_is_mended_or_kept(parser: Parser, tmp_path: Path) -> None:
    hebrew = "\u05e9\u05d0\u05dc\u05d4: \u05db\u05de\u05d4 \u05d4\u05dd 2 + 2?"
    (tmp_path / "rtl.txt").write_text(hebrew)
    assert parsed(parser, tmp_path / "rtl.txt").kept[0].text == hebrew
    long = "one line of quite ordinary words\n" * 9
    (tmp_path / "nul.txt").write_bytes(f"{long}a\x00b\x0bc".encode() + b"\xed\xa0\x80")
    text = parsed(parser, tmp_path / "nul.txt").kept[0].text
    assert text.startswith(long)
    assert "\x00" not in text
    text.encode()  # no half of a surrogate pair is left


def test_the_same_bytes_are_read_once(parser: Parser, tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("1. What is 2 + 2?")
    config = QuestionsConfig.model_validate(
        {"out": "unused", "sources": [{"name": "s", "paths": [str(tmp_path)]}]}
    )
    outcomes = [unit.work() for unit in parser.units(files_of(config))]
    assert [len(one.kept) for one in outcomes] == [1, 0]
    assert outcomes[1].dropped[0].reason == "the same file as another"


def test_paths_that_lead_nowhere_are_one_sentence(tmp_path: Path) -> None:
    def files(**source: object) -> None:
        whole = {"out": "unused", "sources": [{"name": "s", **source}]}
        files_of(QuestionsConfig.model_validate(whole))

    with pytest.raises(QuestionsError, match=r"source s: there is no file .*\.pdf"):
        files(paths=[str(tmp_path / "*.pdf")])
    (tmp_path / "a.xcf").write_bytes(b"x")
    with pytest.raises(QuestionsError, match=r"no source has a document \(s\).*Read are .*\.pdf"):
        files(paths=[str(tmp_path)])
    with pytest.raises(QuestionsError, match="sources, s: There is no format of documents 'pfd'"):
        files(paths=[str(tmp_path)], format="pfd")


def test_a_document_has_limits_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("\f".join(["a page of text " * 20] * 40))
    file = File(source="s", path=tmp_path / "long.txt", form="text", digest="d")
    found = {}
    for name, most in (("pages", 39), ("document_characters", 2000), ("document_s", 1e-9)):
        with Parser(LimitsConfig.model_validate({name: most}), workers=1) as small:
            found[name] = small.parsed(file, file)
    assert [(one.page, one.reason) for one in found["pages"].dropped] == [(0, "too many pages")]
    (dropped,) = found["document_characters"].dropped
    assert (dropped.page, dropped.reason) == (0, "too much text")
    assert found["document_characters"].kept == []
    (dropped,) = found["document_s"].dropped
    assert (dropped.page, dropped.reason) == (1, "takes too long")
