"""How glibc's allocator treats large blocks in a process that trains on the CPU.

A block above a threshold is mapped by itself, and goes back to the system when it is freed: its
pages are zeroed anew each time. Others come out of one heap, where a small tensor that is kept (of
an adapter, say) pins the large hole below it, and the heap grows by half as much again as is in
use. glibc raises the threshold to the largest block that was ever freed, up to 32 MiB, which is
most of what a micro-batch computes with.

So a model is loaded, and an adapter trained, with large blocks mapped. Where all weights are
trained, what is kept of a micro-batch is as large as what is freed, and the next one fills the same
holes: there they stay in the heap.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of `mallopt` (glibc's malloc.h)."""
MAPPED = 4 << 20
"""Bytes from which on a block is mapped by itself, in smaller ones tiny models compute."""
LARGEST = 32 << 20
"""Bytes of the largest block that the heap may hold, by glibc's own bound."""
KEPT = (1 << 31) - 1
"""Free bytes at the heap's end that do not go back to the system: the most that can be said."""


def map_large_blocks() -> bool:
    """Fix the threshold of this process; False where its C library knows none (musl, macOS)."""
    return _set(M_MMAP_THRESHOLD, MAPPED)


def keep_freed_blocks() -> bool:
    """Use again what is freed from here on; False where the C library knows nothing of it."""
    return _set(M_MMAP_THRESHOLD, LARGEST) and _set(M_TRIM_THRESHOLD, KEPT)


def _set(option: int, value: int) -> bool:
    with suppress(AttributeError, OSError):
        return bool(ctypes.CDLL(None).mallopt(option, value))
    return False
