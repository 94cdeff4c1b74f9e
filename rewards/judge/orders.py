"""Orders in which candidates are shown to a judge, and scores that no place in them can buy."""

from __future__ import annotations

import random
from collections.abc import Sequence
from hashlib import blake2b
from statistics import fmean


def rotations(texts: Sequence[str], *, seed: int, count: int = 0) -> list[list[int]]:
    """Cyclic orders of the texts' numbers, from a shuffle that depends on seed and texts alone.

    Args:
        texts: the candidates.
        seed: of the shuffle.
        count: how many orders; 0, or more than there are, for all: each text then stands at each
            place exactly once. Fewer are spread evenly.
    """
    digest = blake2b(str(seed).encode(), digest_size=8)
    for text in sorted(texts):  # the order they come in says nothing
        digest.update(blake2b(text.encode(), digest_size=16).digest())
    order = sorted(range(len(texts)), key=lambda i: (texts[i], i))
    random.Random(digest.digest()).shuffle(order)
    total = len(texts)
    shifts = range(total) if not 0 < count < total else [i * total // count for i in range(count)]
    return [[*order[shift:], *order[:shift]] for shift in shifts]


def beaten(order: Sequence[int], ranking: Sequence[int]) -> list[float]:
    """For each text, the share of the others that it beats.

    Args:
        order: numbers of the texts, as shown.
        ranking: places in `order`, from 1, best first.
    """
    scores = [0.0] * len(order)
    for place, number in enumerate(ranking):
        scores[order[number - 1]] = 1 - place / (len(order) - 1)
    return scores


def won(order: Sequence[int], best: int) -> list[float]:
    """1 for the text that was shown at place `best`, from 1; 0 for the others."""
    winner = order[best - 1]
    return [float(i == winner) for i in range(len(order))]


def shared(texts: Sequence[str], wins: Sequence[Sequence[float]]) -> list[float]:
    """Each text's mean over the orders; equal texts share theirs."""
    scores = [fmean(column) for column in zip(*wins, strict=True)]
    alike = {text: [i for i, each in enumerate(texts) if each == text] for text in set(texts)}
    return [fmean(scores[i] for i in alike[text]) for text in texts]
