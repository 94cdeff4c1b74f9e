"""How many replies check themselves."""

from __future__ import annotations

from munro.evaluation.thoughts.lists import pattern, words
from munro.evaluation.thoughts.types import Phrases


class ChecksItself(Phrases):
    """Phrases of the list `checks_itself`."""

    title = "Checks itself"
    told = "Replies that look at their own work again."
    pattern = pattern(words("checks_itself"))
