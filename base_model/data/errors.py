"""What a person must settle about their data, in one sentence each."""

from __future__ import annotations


class DataError(Exception):
    """Says what is wrong, where, and how to mend it, in one line."""

    is_sentence = True


class SourceExhausted(DataError):
    """A source was read as often as its cap allows."""
