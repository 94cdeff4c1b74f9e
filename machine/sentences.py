"""The failures that are told to a person in one line, without a traceback.

An exception's class says so itself, where it is defined, a plug-in's own as well as ours:

    class NoSuchBucket(Exception):
        is_sentence = True
"""

from __future__ import annotations


def in_one_line(error: BaseException) -> str:
    """What an error says, on one line whatever it quotes; its kind where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def is_sentence(error: BaseException) -> bool:
    """Whether the message says it all, and a traceback would only hide it."""
    return getattr(type(error), "is_sentence", False) is True
