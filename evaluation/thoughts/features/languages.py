"""How many replies switch to another language."""

from __future__ import annotations

import numpy as np

from munro.evaluation.thoughts.types import Array, Feature, Rows
from munro.rewards.language.score import FOREIGN_WORDS, num_foreign_words
from munro.rewards.language.wordlists import tables

FEWEST = 3
"""Words that tell another language, below which there is no run of it."""


class Languages(Feature):
    """Words that are not English, as the language reward counts them."""

    title = "Language switches"
    told = "Replies with words of another language than English, outside of code and formulas."
    is_share = True
    pattern = r"[^\x00-\x{024f}\x{0370}-\x{03ff}\x{2000}-\x{2bff}]+"

    def values(self, rows: Rows) -> Array:
        """Foreign words of each."""
        telling, _ = tables()
        told = telling.keys()
        found = np.zeros(len(rows.text))
        for at, text in enumerate(rows.text):
            # counting takes long: most replies hold nothing that could count
            if text.isascii():
                words = set(text.split())
                if not words & FOREIGN_WORDS and len(words & told) < FEWEST:
                    continue
            found[at] = num_foreign_words(text)
        return found
