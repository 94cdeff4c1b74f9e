"""The main text of a web page, without menus, footers and markup."""

from __future__ import annotations

import re
from typing import Any

from munro.base_model.data.errors import DataError
from munro.base_model.data.guard import TookTooLong, at_most

CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([A-Za-z0-9_.:-]{2,40})""", re.I)
LISTS = re.compile(r"<(?:li|dt|dd)[\s>]", re.I)
CELLS = re.compile(r"<t[dh][\s>]", re.I)
LIST_IN_CELL = " | ".join(
    f"//{cell}//{name}" for cell in ("td", "th") for name in ("ul", "ol", "dl", "li", "dt", "dd")
)
ITEMS = {"li": "; ", "dt": ": ", "dd": "; "}
"""What follows an item of a list that becomes one line of text."""
HEAD_BYTES = 4096
"""Start of a page in which its encoding is declared."""


def decoded(page: bytes) -> str:
    """Text of a page: UTF-8 where it is, else the encoding it declares, else Windows-1252."""
    declared = CHARSET.search(page[:HEAD_BYTES])
    encodings = ["utf-8-sig", declared[1].decode("ascii") if declared else "cp1252"]
    for encoding in encodings:
        try:
            return page.decode(encoding)
        except (UnicodeDecodeError, LookupError):
            continue
    return page.decode("cp1252", errors="replace")


def extracted(page: str, *, seconds: float) -> tuple[str, str]:
    """The text and "", or "" and why there is none.

    Args:
        page: HTML that anybody may have written: nothing in it is fetched or run.
        seconds: after which a page is given up.

    Raises:
        DataError: `trafilatura` is not installed.
    """
    extract = _extractor()
    try:
        with at_most(seconds):
            tree = _with_plain_cells(page)
            text = extract(tree, include_comments=False, include_tables=True, deduplicate=False)
    except TookTooLong:
        return "", "took too long"
    except (MemoryError, RecursionError, ValueError, AssertionError):
        return "", "could not be parsed"
    return (text, "") if text and text.strip() else ("", "no main text")


def _with_plain_cells(page: str) -> Any:
    """The page, or its tree with every list inside a table's cell made plain text: trafilatura
    finds nothing in such cells."""
    if not LISTS.search(page) or not CELLS.search(page):
        return page
    from trafilatura import load_html

    tree = load_html(page)
    if tree is None:
        return page
    found = tree.xpath(LIST_IN_CELL)
    within = [item.getparent() is not None and item.getparent().tag in ITEMS for item in found]
    for item, is_within in zip(found, within, strict=True):
        if item.tag in ITEMS:
            item.tail = ITEMS[item.tag] if item.getnext() is not None else ""
        elif is_within:  # a list in an item of a list
            item.text = f": {item.text or ''}"
        item.tag = "span"
    return tree


def _extractor() -> Any:
    try:
        from trafilatura import extract
    except ImportError:
        raise DataError(
            "the stage html needs trafilatura: pip install 'munro[data]', or leave the stage out."
        ) from None
    return extract
