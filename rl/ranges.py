"""Many numbers, most of which follow one another, in few words."""

from __future__ import annotations

from collections.abc import Iterable


def ranges(indices: Iterable[int]) -> list[list[int]]:
    """Numbers as ranges, in order.

    Example:
        ranges([3, 5, 4, 9])  # [[3, 6], [9, 10]]
    """
    found: list[list[int]] = []
    for index in sorted(indices):
        if found and found[-1][1] == index:
            found[-1][1] = index + 1
        else:
            found.append([index, index + 1])
    return found
