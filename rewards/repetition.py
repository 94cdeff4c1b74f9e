"""The repetition part of a reward: how much of a text was said before in the same text.

The report names no such part; its weight is 0 unless a person sets one. A policy that loops shows
here before it shows in the pass rate.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

PIECE = re.compile(r"\w{1,12}|[^\w\s]")
"""Words, long ones cut up so that text without spaces can repeat too, and single signs."""
BASE = np.uint64(0x9E3779B97F4A7C15)
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
    return float(shares([text], run)[0])


def shares(texts: Sequence[str], run: int = RUN) -> NDArray[np.float64]:
    """`share` of each text, all at once: many short ones take a fraction of the time.

    Args:
        texts: [N] any.
        run: pieces in a row.

    Raises:
        ValueError: run is not positive.
    """
    if run < 1:
        raise ValueError(f"run is {run}: must be at least 1")
    pieces = [PIECE.findall(text) for text in texts]
    sizes = np.array([len(some) for some in pieces])
    found = np.zeros(len(texts))
    if not len(texts) or sizes.max() <= run:
        return found
    numbers: dict[str, int] = {}
    codes = np.array(
        [numbers.setdefault(piece, len(numbers) + 1) for some in pieces for piece in some],
        np.uint64,
    )
    text_of = np.repeat(np.arange(len(texts)), sizes)
    num_windows = len(codes) - run + 1
    # one number for each run of pieces, the same for the same run; it wraps around, as a hash may.
    # Runs of two texts differ, and what reaches from one text into the next is no run
    windows = text_of[:num_windows].astype(np.uint64)
    for offset in range(run):
        windows = windows * BASE + codes[offset : offset + num_windows]
    is_whole = text_of[:num_windows] == text_of[run - 1 :]
    at = np.flatnonzero(is_whole)
    _, first = np.unique(windows[at], return_index=True)
    is_repeat = np.zeros(num_windows, bool)
    is_repeat[at] = True
    is_repeat[at[first]] = False
    opened = np.zeros(len(codes) + 1, np.int64)
    opened[:num_windows] += is_repeat
    opened[run : run + num_windows] -= is_repeat
    repeated = np.bincount(text_of, opened.cumsum()[:-1] > 0, len(texts))
    return np.where(sizes > run, repeated / np.maximum(sizes, 1), found)
