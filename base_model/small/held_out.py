"""What is kept for testing, as whoever makes training text asks for it."""

from __future__ import annotations

from collections.abc import Callable

HeldOut = Callable[[str], bool]
"""Says of a problem such as "347+285", or of a set of digits such as "0478", whether it is kept."""
