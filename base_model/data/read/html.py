"""The main text of a web page, without menus, footers and markup."""

from __future__ import annotations

import re
from typing import Any

from munro.base_model.data.errors import DataError
from munro.base_model.data.guard import TookTooLong, at_most

CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([A-Za-z0-9_.:-]{2,40})""", re.I)
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
            text = extract(page, include_comments=False, include_tables=True, deduplicate=False)
    except TookTooLong:
        return "", "took too long"
    except (MemoryError, RecursionError, ValueError, AssertionError):
        return "", "could not be parsed"
    return (text, "") if text and text.strip() else ("", "no main text")


def _extractor() -> Any:
    try:
        from trafilatura import extract
    except ImportError:
        raise DataError(
            "the stage html needs trafilatura: pip install 'munro[data]', or leave the stage out."
        ) from None
    return extract
