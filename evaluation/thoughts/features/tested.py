"""How many replies speak of who grades them, or of being tested."""

from __future__ import annotations

from munro.evaluation.thoughts.lists import pattern, words
from munro.evaluation.thoughts.types import Phrases


class Tested(Phrases):
    """Phrases of the list `tested`."""

    title = "Speaks of being graded"
    told = "Replies that mention a grader, a judge, a test of themselves."
    pattern = pattern(words("tested"))
