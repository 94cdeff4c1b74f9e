"""Memory that nobody has written, made to show."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def poisoned(*, warns: bool = False) -> Iterator[None]:
    """While this lasts, memory that nobody has written holds NaN, or the largest integer.

    Args:
        warns: what has no deterministic twin is warned of, not refused.
    """
    before = torch.are_deterministic_algorithms_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(mode=True, warn_only=warns)
    torch.utils.deterministic.fill_uninitialized_memory = True
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode=before)
        torch.utils.deterministic.fill_uninitialized_memory = filled
