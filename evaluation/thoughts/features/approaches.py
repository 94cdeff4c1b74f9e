"""How often replies change their approach."""

from __future__ import annotations

from munro.evaluation.thoughts.lists import pattern, words
from munro.evaluation.thoughts.types import Phrases


class Approaches(Phrases):
    """Phrases of the list `approaches`: each opens one more."""

    title = "Further approaches"
    told = "Times that a reply leaves one way of going at it for another, on average."
    is_share = False
    pattern = pattern(words("approaches"))
