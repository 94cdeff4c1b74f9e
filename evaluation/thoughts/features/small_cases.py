"""How many replies try small cases."""

from __future__ import annotations

from munro.evaluation.thoughts.lists import pattern, words
from munro.evaluation.thoughts.types import Phrases


class SmallCases(Phrases):
    """Phrases of the list `small_cases`."""

    title = "Small cases"
    told = "Replies that try something small first."
    pattern = pattern(words("small_cases"))
