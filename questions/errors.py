"""What a person must settle about a build, in one sentence each."""

from __future__ import annotations


class QuestionsError(Exception):
    """Says what is wrong, where, and how to mend it, in one line."""

    is_sentence = True
