"""docling as a format: what is missing is one line, and what it returns goes the usual way.

Without the package a stand-in of its two calls plays it; `test_docling_itself` needs the real one.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from munro.questions.config import LimitsConfig, QuestionsConfig
from munro.questions.errors import QuestionsError
from munro.questions.parse.format import Unreadable
from munro.questions.parse.formats import docling
from munro.questions.parse.parsing import Parser, files_of, listed
from tests.questions import pdfs

STAND_IN = """
class _Document:
    def __init__(self, first): self.first = first
    def export_to_markdown(self, page_no=None):
        return f"# Page {page_no}" if page_no else "# Exercises\\n\\n1. What is 1 + 1?\\n"

class _Result:
    def __init__(self, first): self.document = _Document(first)

class DocumentConverter:
    def convert(self, file, page_range=(1, 1)):
        if "bad" in str(file):
            raise RuntimeError("it is no\\ndocument")
        return _Result(page_range[0])
"""
OPEN = "http://schemas.openxmlformats.org"
RELATED, OFFICE = "application/vnd.openxmlformats-package.relationships+xml", "officeDocument"
WORD = f"application/vnd.openxmlformats-{OFFICE.lower()}.wordprocessingml.document.main+xml"
PARTS = {
    "[Content_Types].xml": (
        f'<Types xmlns="{OPEN}/package/2006/content-types">'
        f'<Default Extension="rels" ContentType="{RELATED}"/>'
        f'<Override PartName="/word/document.xml" ContentType="{WORD}"/></Types>'
    ),
    "_rels/.rels": (
        f'<Relationships xmlns="{OPEN}/package/2006/relationships"><Relationship Id="r1" '
        f'Type="{OPEN}/{OFFICE}/2006/relationships/{OFFICE}" Target="word/document.xml"/>'
        "</Relationships>"
    ),
    "word/document.xml": (
        f'<w:document xmlns:w="{OPEN}/wordprocessingml/2006/main"><w:body><w:p><w:r>'
        "<w:t>1. What is 20 + 3?</w:t></w:r></w:p></w:body></w:document>"
    ),
}


def docx(file: Path) -> Path:
    """A Word file of one line."""
    with zipfile.ZipFile(file, "w") as parts:
        for name, text in PARTS.items():
            parts.writestr(name, f'<?xml version="1.0"?>{text}')
    return file


def config(folder: Path, **source: Any) -> QuestionsConfig:
    whole = {"out": "unused", "sources": [{"name": "s", "paths": [str(folder)], **source}]}
    return QuestionsConfig.model_validate(whole)


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    package = tmp_path / "packages" / "docling"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "document_converter.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(str(package.parent))
    docling._converter.cache_clear()
    yield
    docling._converter.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "docling"]:
        monkeypatch.delitem(sys.modules, name)


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docling, "PACKAGE", "docling_that_is_not_there")


@pytest.mark.usefixtures("missing")
def test_a_format_without_its_package_is_one_sentence(tmp_path: Path) -> None:
    docx(tmp_path / "a.docx")
    with pytest.raises(QuestionsError, match="not installed: pip install docling") as told:
        listed(config(tmp_path, format="docling").sources[0])
    assert "\n" not in str(told.value)
    (tmp_path / "b.txt").write_text("a text")
    files = files_of(config(tmp_path))
    word = next(file for file in files if file.path.suffix == ".docx")
    with Parser(LimitsConfig(), workers=1) as parser:
        (dropped,) = parser.parsed(word, word).dropped
    assert dropped.reason == "nobody here reads its format"
    assert "pip install docling" in dropped.evidence


@pytest.mark.usefixtures("stand_in")
def test_what_docling_returns_is_a_page(tmp_path: Path) -> None:
    (page,) = docling.Docling.pages(str(docx(tmp_path / "a.docx")), 0, 1, 1000)
    assert page == {
        "text": "# Exercises\n\n1. What is 1 + 1?\n",
        "headings": [0, 11, 1],
        "problem": "",
    }
    pdfs.write(tmp_path / "a.pdf", [[(50, 60, "x")]] * 3)
    assert docling.Docling.count(str(tmp_path / "a.pdf")) == 3
    pages = docling.Docling.pages(str(tmp_path / "a.pdf"), 1, 3, 1000)
    assert [one["text"] for one in pages] == ["# Page 2", "# Page 3"]
    assert docling.Docling.picture(str(tmp_path / "a.pdf"), 0, 72).startswith(b"\x89PNG")
    with pytest.raises(Unreadable) as told:
        docling.Docling.pages(str(tmp_path / "bad.docx"), 0, 1, 1000)
    assert (told.value.reason, told.value.evidence) == (
        "docling cannot read it",
        "it is no document",
    )
    with pytest.raises(Unreadable, match="no picture of it"):
        docling.Docling.picture(str(tmp_path / "a.docx"), 0, 72)


def test_formulas_that_docling_leaves_out_need_a_reader() -> None:
    page = docling._page("Solve <!-- formula-not-decoded --> for x.", 1000)
    assert (page["text"], page["problem"]) == ("", "needs_ocr: docling left formulas out")
    assert docling._page("x" * 11, 10)["problem"] == "too much text: 11 characters"


@pytest.mark.slow
@pytest.mark.skipif(find_spec("docling") is None, reason="docling is not installed")
def test_docling_itself_reads_a_word_file_in_a_child(tmp_path: Path) -> None:
    file = docx(tmp_path / "a.docx")
    (one,) = files_of(config(file))
    with Parser(LimitsConfig(memory_mb=8192, page_s=200), workers=1) as parser:
        outcome = parser.parsed(one, one)
    assert outcome.dropped == []
    assert "What is 20 + 3?" in outcome.kept[0].text
