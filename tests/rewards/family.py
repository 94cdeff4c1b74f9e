"""Which processes a test started, where earlier tests of the same run have left some at work."""

from __future__ import annotations

from collections.abc import Collection

import psutil


def children() -> set[int]:
    """Pids of this process's children at this moment."""
    return {child.pid for child in psutil.Process().children()}


def descendants(strangers: Collection[int]) -> list[psutil.Process]:
    """This process's children but for `strangers`, and all that came of them."""
    found = [child for child in psutil.Process().children() if child.pid not in strangers]
    for child in list(found):
        try:
            found += child.children(recursive=True)
        except psutil.NoSuchProcess:
            continue
    return found
