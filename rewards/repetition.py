"""The repetition part of a reward: how much of a text was said before in the same text.

The report names no such part; its weight is 0 unless a person sets one. A policy that loops shows
here before it shows in the pass rate.
"""

from __future__ import annotations

import re

PIECE = re.compile(r"\w{1,12}|[^\w\s]")
"""Words, long ones cut up so that text without spaces can repeat too, and single signs."""
RUN = 12
"""Pieces in a row that must come again: shorter runs repeat in honest work (a sum, a refrain)."""


def share(text: str, run: int = RUN) -> float:
    """Share of the text's pieces that stand in a run of `run` pieces seen before.

    Args:
        text: any; only what is inside it is compared.
        run: pieces in a row.

    Returns:
        In [0, 1]: 0 for a text without repeats, close to 1 for a loop.

    Raises:
        ValueError: run is not positive.

    Example:
        share("one two three. " * 100)      # about 0.99
    """
    if run < 1:
        raise ValueError(f"run is {run}: must be at least 1")
    pieces = PIECE.findall(text)
    seen: set[tuple[str, ...]] = set()
    covered_up_to = num_repeated = 0
    for start, window in enumerate(zip(*(pieces[at:] for at in range(run)), strict=False)):
        if window in seen:
            num_repeated += start + run - max(covered_up_to, start)
            covered_up_to = start + run
        else:
            seen.add(window)
    return num_repeated / len(pieces) if pieces else 0.0
