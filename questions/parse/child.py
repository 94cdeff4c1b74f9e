"""What runs in the children that read documents: named by the parent, never called in its process.

A parser in native code is not to be trusted with a stranger's file. A child has limits on memory
and time, cannot write a byte to any file, and opens no connection and no process.
"""

from __future__ import annotations

import base64
import resource
import sys
import unicodedata
from typing import Any

from munro.questions.parse.format import FORMATS, Format, RawPage, Unreadable
from munro.questions.types import PAGE_END

REFUSED = ("socket.connect", "socket.bind", "subprocess.", "os.exec", "os.system", "os.posix_spawn")
LIGATURES = {
    "\ufb00": "ff", "\ufb01": "fi", "\ufb02": "fl", "\ufb03": "ffi", "\ufb04": "ffl",
    "\ufb05": "st", "\ufb06": "st", "\u00a0": " ", "\u00ad": "", "\u2028": "\n", "\u2029": "\n",
}  # fmt: skip
BROKEN_WORD = ("\ufffe\r\n", "\ufffe\n", "\ufffe", "\x02\r\n", "\x02\n", "\x02")
"""PDFium's sign for a hyphen at the end of a line."""


def prepare() -> None:
    """Before any child is forked: imports, and limits that all of them inherit."""
    import pypdfium2  # noqa: F401 - children find it loaded

    for name in FORMATS.names():
        if name not in _installed():
            FORMATS.find(name)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    sys.addaudithook(_guard)


def count(form: str, file: str) -> dict[str, Any]:
    """{"pages": number}, or {"refused": reason, "evidence": what shows it}."""
    try:
        return {"pages": _format(form).count(file)}
    except Unreadable as refusal:
        return {"refused": refusal.reason, "evidence": refusal.evidence}


def pages(
    form: str, file: str, first: int, after: int, most: int, unknown: float
) -> dict[str, Any]:
    """{"pages": [...]}, or {"refused": ...} as `count`."""
    try:
        raw = _format(form).pages(file, first, after, most)
    except Unreadable as refusal:
        return {"refused": refusal.reason, "evidence": refusal.evidence}
    return {"pages": [mended(page, unknown) for page in raw]}


def picture(form: str, file: str, number: int, dpi: int) -> dict[str, Any]:
    """{"picture": PNG or JPEG in base 64}, or {"refused": ...} as `count`."""
    try:
        return {"picture": base64.b64encode(_format(form).picture(file, number, dpi)).decode()}
    except Unreadable as refusal:
        return {"refused": refusal.reason, "evidence": refusal.evidence}


def mended(page: RawPage, unknown: float) -> RawPage:
    """A page whose text can be kept, or the problem with it.

    Args:
        page: as a format hands it over.
        unknown: share of glyphs without a meaning from which the text does not hold the page.
    """
    if page["problem"]:
        return {**page, "text": "", "headings": []}
    text = page["text"]
    for sign in BROKEN_WORD:
        text = text.replace(sign, "")
    if page["headings"]:  # places must stay: only formats of our own text name headings
        text = "".join(_same_length(letter) for letter in text)
    else:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        text = "".join(LIGATURES.get(letter, _same_length(letter)) for letter in text)
    ink = [letter for letter in text if not letter.isspace()]
    odd = [] if text.isascii() else [one for one in ink if _is_strange(one)]
    count = max(len(odd), page.get("unmapped", 0))
    if ink and count > unknown * len(ink):
        shown = f"{count} of {len(ink)} glyphs have no meaning"
        return {"text": "", "headings": [], "problem": f"needs_ocr: {shown}"}
    return {**page, "text": text}


UNSAID = ("Co", "Cn")
"""Unicode's categories of private and unassigned characters."""


def _is_strange(letter: str) -> bool:
    return letter == "\ufffd" or unicodedata.category(letter) in UNSAID


def _same_length(letter: str) -> str:
    if letter in "\n\t":
        return letter
    if letter in ("\x0b", "\x85", "\r", PAGE_END, "\u2028", "\u2029"):
        return "\n"
    return "\ufffd" if unicodedata.category(letter) in ("Cc", "Cs") else letter


def _format(name: str) -> type[Format]:
    found: type[Format] = FORMATS.find(name)
    return found


def _installed() -> set[str]:
    from munro.rewards.plugins import installed

    return set(installed(FORMATS.group))


def _guard(event: str, _args: tuple[Any, ...]) -> None:
    if event.startswith(REFUSED):
        raise PermissionError(f"a child that reads documents may not do {event}")
