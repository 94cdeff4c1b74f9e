"""What is said of adapters that will not do."""

from __future__ import annotations


class BadAdapter(ValueError):
    """An adapter cannot be put on this model, or is of another; says why, in one sentence."""

    is_sentence = True
