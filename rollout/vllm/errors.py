"""What a vLLM server refuses, in a file that loads without vLLM."""

from __future__ import annotations


class BadLayout(Exception):
    """Learner and server do not fit together, or would need too much; a sentence says why."""

    is_sentence = True
