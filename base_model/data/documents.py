"""A document on its way from a file to tokens, and what was left out on the way."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One text.

    Example:
        Document(key="lib/json/decoder.py", text="def decode(s): ...", group="json")
    """

    key: str
    """Where it is from: a path, or a path with line or row."""
    text: str
    """What is learned."""
    prefix: str = ""
    """What is read before it and not learned."""
    group: str = ""
    """Its repository, where there is one."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Documents and bytes that came out of a stage, and why others did not; adds up over parts."""

    documents: Counter[str] = field(default_factory=Counter)
    """By stage."""
    size_bytes: Counter[str] = field(default_factory=Counter)
    """By stage, of the text as UTF-8."""
    dropped: Counter[str] = field(default_factory=Counter)
    """By reason, as "stage/reason"."""

    def kept(self, stage: str, document: Document) -> None:
        """One more document came out of this stage."""
        self.documents[stage] += 1
        self.size_bytes[stage] += utf8_length(document.text)

    def plus(self, other: Counts) -> Counts:
        """Both together."""
        return Counts(
            self.documents + other.documents,
            self.size_bytes + other.size_bytes,
            self.dropped + other.dropped,
        )

    def as_json(self) -> dict[str, dict[str, int]]:
        """For a file beside the part."""
        return {
            "documents": dict(self.documents),
            "size_bytes": dict(self.size_bytes),
            "dropped": dict(self.dropped),
        }

    @classmethod
    def of_json(cls, raw: dict[str, dict[str, int]]) -> Counts:
        """Back from the file."""
        return cls(*(Counter(raw[name]) for name in ("documents", "size_bytes", "dropped")))


def utf8_length(text: str) -> int:
    """Bytes of the text as UTF-8; the usual ASCII text is not encoded for it."""
    return len(text) if text.isascii() else len(text.encode())
