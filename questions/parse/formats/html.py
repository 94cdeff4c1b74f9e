"""HTML: the text of a page with its mathematics as LaTeX, without menus, scripts and styles."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import ClassVar

from munro.base_model.data.read.html import decoded
from munro.questions.parse.format import Format, RawPage
from munro.questions.parse.mathml import Node, latex_of

LEFT_OUT = {
    *("script", "style", "noscript", "template", "nav", "header", "footer", "aside", "form"),
    *("button", "select", "textarea", "svg", "iframe", "object", "head", "dialog", "canvas"),
}
BLOCKS = {
    *("p", "div", "section", "article", "main", "table", "tr", "ul", "ol", "dl", "dt", "dd"),
    *("blockquote", "pre", "figure", "figcaption", "hr", "br", "li", "details", "summary"),
}
VOID = {
    *("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source"),
    *("track", "wbr"),
}
HEADINGS = {f"h{level}": level for level in range(1, 7)}
TEX = ("math/tex", "math/latex")
MOST_DEPTH = 200


class Html(Format):
    """Web pages; one page each."""

    suffixes: ClassVar[tuple[str, ...]] = (".html", ".htm", ".xhtml")

    @classmethod
    def looks_like(cls, head: bytes) -> bool:
        """Some tag within the first kilobyte."""
        return b"<" in head and b"\x00" not in head

    @classmethod
    def count(cls, file: str) -> int:  # noqa: ARG003 - a page is a page
        """Always one."""
        return 1

    @classmethod
    def pages(cls, file: str, first: int, after: int, most: int) -> list[RawPage]:
        """The page, if it is asked for."""
        if not first <= 0 < after:
            return []
        reader = _Reader()
        reader.feed(decoded(Path(file).read_bytes()))
        reader.close()
        text, headings = reader.result()
        if len(text) > most:
            problem = f"too much text: {len(text):,} characters"
            return [{"text": "", "headings": [], "problem": problem}]
        return [{"text": text, "headings": headings, "problem": ""}]


class _Reader(HTMLParser):
    """Text in the order of the page. Never builds a tree but of a formula."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._pieces: list[str] = []
        self._length = 0
        self._headings: list[int] = []
        self._heading: tuple[str, int, int] | None = None
        """Tag, and where it begins: in the text, and in the list of its pieces."""
        self._skipped: list[str] = []
        """Open tags below one that is left out, that one first."""
        self._lists: list[int | None] = []
        """Number of the next item of each open list; None for one without numbers."""
        self._formula: list[Node] = []
        self._tex: list[str] | None = None
        self._in_pre = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin what a tag begins."""
        named = {name: value or "" for name, value in attrs}
        if self._skipped:
            if tag not in VOID and len(self._skipped) < MOST_DEPTH:
                self._skipped.append(tag)
        elif self._formula:
            if len(self._formula) < MOST_DEPTH:
                node = Node(tag=tag, attrs=named)
                self._formula[-1].children.append(node)
                if tag not in VOID:
                    self._formula.append(node)
        elif tag == "math":
            self._formula.append(Node(tag=tag, attrs=named))
        elif tag == "script" and named.get("type", "").split(";")[0].strip() in TEX:
            self._tex = []
        elif tag in LEFT_OUT or named.get("aria-hidden") == "true" or "hidden" in named:
            if tag not in VOID:
                self._skipped.append(tag)
        else:
            self._open(tag, named)

    def handle_endtag(self, tag: str) -> None:
        """End what it ends; an end without a beginning ends nothing."""
        if self._tex is not None and tag == "script":
            self._put(f"\\({''.join(self._tex).strip()}\\)")
            self._tex = None
        elif self._skipped:
            if tag in self._skipped:
                del self._skipped[len(self._skipped) - 1 - self._skipped[::-1].index(tag) :]
        elif self._formula:
            self._end_in_formula(tag)
        elif self._heading and tag == self._heading[0]:
            _, begin, first = self._heading
            if any(piece.strip() for piece in self._pieces[first:]):
                self._headings += [begin, self._length, HEADINGS[tag]]
            self._heading = None
            self._break()
        elif tag in ("ol", "ul") and self._lists:
            self._lists.pop()
            self._break()
        elif tag == "pre":
            self._in_pre = max(0, self._in_pre - 1)
            self._break()
        elif tag in BLOCKS:
            self._break()
        elif tag in ("td", "th"):
            self._put(" ")

    def handle_data(self, data: str) -> None:
        """Text of the page, of a formula, or of nobody."""
        if self._tex is not None:
            self._tex.append(data)
        elif self._skipped:
            return
        elif self._formula:
            self._formula[-1].children.append(data)
        elif self._in_pre:
            self._put(data)
        else:
            words = " ".join(data.split())
            left = " " if data[:1].isspace() else ""
            right = " " if data[-1:].isspace() and words else ""
            self._put(f"{left}{words}{right}")

    def result(self) -> tuple[str, list[int]]:
        """The text, and where its headings are."""
        while self._formula:
            self._end_in_formula(self._formula[-1].tag)
        return "".join(self._pieces), self._headings

    def _open(self, tag: str, attrs: dict[str, str]) -> None:
        if tag in HEADINGS:
            self._break()
            self._heading = (tag, self._length, len(self._pieces))
        elif tag in ("ol", "ul"):
            start = attrs.get("start", "1")
            number = int(start) if start.isascii() and start.isdigit() and len(start) < 9 else 1
            self._lists.append(number if tag == "ol" else None)
            self._break()
        elif tag == "li":
            self._break()
            if self._lists and (item := self._lists[-1]) is not None:
                self._put(f"{item}. ")
                self._lists[-1] = item + 1
        elif tag == "pre":
            self._break()
            self._in_pre += 1
        elif tag in BLOCKS:
            self._break()
        elif tag == "img" and attrs.get("alt") and _is_formula(attrs):
            self._put(f"\\({attrs['alt'].strip()}\\)")
        elif tag == "sup":
            self._put("^")
        elif tag == "sub":
            self._put("_")

    def _end_in_formula(self, tag: str) -> None:
        tags = [node.tag for node in self._formula]
        if tag not in tags:
            return
        at = len(tags) - 1 - tags[::-1].index(tag)
        whole = self._formula[0]
        del self._formula[at:]
        if not self._formula:
            tex = latex_of(whole)
            self._put(f"\\({tex}\\)" if tex else "")

    def _put(self, text: str) -> None:
        if text.startswith(" ") and (not self._pieces or self._pieces[-1][-1:].isspace()):
            text = text[1:]
        if text:
            self._pieces.append(text)
            self._length += len(text)

    def _break(self) -> None:
        if self._pieces and not self._pieces[-1].endswith("\n"):
            self._put("\n")


def _is_formula(attrs: dict[str, str]) -> bool:
    named = f"{attrs.get('class', '')} {attrs['alt']}"
    return "math" in named or "tex" in attrs.get("class", "") or "\\" in attrs["alt"]
