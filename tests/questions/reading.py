"""A document's text through the stages in this process, without files and children."""

from __future__ import annotations

from pathlib import Path

from munro.questions.config import PairConfig
from munro.questions.mark.outline import outlined
from munro.questions.mark.rules import marked
from munro.questions.pair.pairing import paired
from munro.questions.parse.child import mended
from munro.questions.parse.formats.html import Html
from munro.questions.parse.formats.pdf import Pdf
from munro.questions.stages import Outcome
from munro.questions.types import Page


def pages_of(*texts: str) -> list[Page]:
    """Pages with these texts."""
    return [
        Page(document="d", source="s", file="book", number=number, text=text)
        for number, text in enumerate(texts, 1)
    ]


def pages_of_pdf(file: Path) -> list[Page]:
    """As the stage `parse` would have them."""
    raw = Pdf.pages(str(file), 0, Pdf.count(str(file)), 200_000)
    return pages_of(*(mended(page, 0.02)["text"] for page in raw))


def page_of_html(html: str, folder: Path) -> Page:
    """One web page."""
    (folder / "page.html").write_text(html)
    raw = mended(Html.pages(str(folder / "page.html"), 0, 1, 200_000)[0], 0.02)
    headings = tuple(raw["headings"])
    return Page(
        document="d", source="s", file="page", number=1, text=raw["text"], headings=headings
    )


def marks_of(pages: list[Page]) -> Outcome:
    """Spans by rules."""
    return marked(pages, outlined(pages).kept)


def pairs_of(pages: list[Page], **config: object) -> Outcome:
    """Pairs by rules."""
    return paired(pages, marks_of(pages).kept, PairConfig.model_validate(config))


def asked(outcome: Outcome) -> dict[str, str]:
    """Answers by question, with white space evened out."""
    return {flat(pair.question): flat(pair.answer) for pair in outcome.kept}


def flat(text: str) -> str:
    """White space evened out."""
    return " ".join(text.split())
