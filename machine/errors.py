"""What can be wrong with what a person wrote."""

from __future__ import annotations


class BadConfig(ValueError):
    """What is wrong with a config, in one line: key, value, why, way out."""

    is_sentence = True
