"""The stage `ocr`: pages whose text the file does not hold, read from pictures of them.

    pages ──► has text ───────────────────────────────────────────► page
          └─► needs a reader ──► picture (a child) ──► reader ──► page, or left out as `needs_ocr`

Without a reader every page that needs one is left out with that as its reason. Its place stays in
the document, empty, so that no exercise is joined over it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from munro.questions import tables
from munro.questions.parse import parsing
from munro.questions.parse.child import mended
from munro.questions.parse.format import RawPage
from munro.questions.parse.formats.text import HEADING
from munro.questions.parse.scan import ScanReader, Unread
from munro.questions.stages import Build, Outcome, Unit, slices
from munro.questions.types import Dropped, Page

STAGE = "ocr"
PAGES = 32
"""Of a unit: what a kill can cost."""
REASON = "needs_ocr"


class Scans:
    """Gives pages that have no text one, where there is a reader."""

    def __init__(
        self, parser: parsing.Parser, files: Sequence[parsing.File], reader: ScanReader | None
    ) -> None:
        """
        Args:
            parser: whose children draw the pages.
            files: of the build.
            reader: of the pictures, which lacks nothing; or None.
        """
        self._parser, self._reader = parser, reader
        self._files: Mapping[str, parsing.File] = {one.digest: one for one in reversed(files)}

    def units(self, to: Build) -> list[Unit]:
        """So many pages each, in order."""
        total = tables.num_rows(to.file(parsing.STAGE))
        return slices(to.rows(parsing.STAGE, Page), total, PAGES, self.read)

    def read(self, pages: Sequence[Page]) -> Outcome:
        """These pages, those with text as they are."""
        wanting = [page for page in pages if page.needs]
        if self._reader is None or not wanting:
            made: list[Page | str] = ["" for _ in wanting]
        else:
            with ThreadPoolExecutor(self._reader.at_once, "questions-ocr") as threads:
                made = list(threads.map(partial(self._page, self._reader), wanting))
        found = dict(zip([(one.document, one.number) for one in wanting], made, strict=True))
        outcome = Outcome()
        for page in pages:
            new = found.get((page.document, page.number), page)
            if isinstance(new, str):
                outcome.dropped.append(_dropped(page, new))
            outcome.kept.append(page if isinstance(new, str) else new)
        return outcome

    def _page(self, reader: ScanReader, page: Page) -> Page | str:
        """The page with its text, or why there is none."""
        file = self._files[page.document]
        drawn = self._parser.picture(file, page.number - 1, reader.config.dpi)
        if "refused" in drawn:
            return ": ".join(one for one in (drawn["refused"], drawn["evidence"]) if one)
        try:
            text = reader.read(base64.b64decode(drawn["picture"]))
        except Unread as why:
            return str(why)
        whole = self._parser.limits.page_characters
        if len(text) > whole:
            return f"too much text: {len(text):,} characters"
        raw = mended(_raw(text), self._parser.limits.unknown)
        if raw["problem"] or not raw["text"].strip():
            return f"{reader.name} reads {raw['problem'] or 'no text'}"
        return replace(
            page, text=raw["text"], headings=tuple(raw["headings"]), needs="", read_by=reader.name
        )


def _raw(text: str) -> RawPage:
    """As a format would hand it over: models that see write headings as Markdown does."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    headings: list[int] = []
    for found in HEADING.finditer(text):
        headings += [found.start(), found.end(), len(found[1])]
    return {"text": text, "headings": headings, "problem": ""}


def _dropped(page: Page, why: str) -> Dropped:
    return Dropped(
        stage=STAGE,
        reason=REASON,
        evidence="; ".join(one for one in (page.needs, why) if one),
        source=page.source,
        file=page.file,
        page=page.number,
        id=page.document,
    )
