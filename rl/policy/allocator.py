"""How glibc's allocator treats large blocks in a process that trains on the CPU.

A block above a threshold is mapped by itself, and goes back to the system when it is freed. Others
come out of one heap, where a small tensor that is kept (of an adapter, say) pins the large hole
below it. glibc raises the threshold to the largest block that was ever freed, up to 32 MiB, which
is most of what a micro-batch computes with; the heap then grows by half as much again as is in use.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress

M_MMAP_THRESHOLD = -3
"""Of `mallopt` (glibc's malloc.h)."""
MAPPED = 4 << 20
"""Bytes from which on a block is mapped by itself: its pages are zeroed anew each time, which tiny
models would feel."""


def map_large_blocks() -> bool:
    """Fix the threshold of this process; False where its C library knows none (musl, macOS)."""
    with suppress(AttributeError, OSError):
        return bool(ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, MAPPED))
    return False
