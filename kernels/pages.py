"""Fresh memory in huge pages, so that a large result is not paid for page by page.

The first touch of fresh memory costs a fault a page: with pages of 4 KiB more than the products
that fill a gradient of many small experts. Linux gives pages of 2 MiB where a process asks for
them; elsewhere nothing changes.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

PAGE = 2 << 20
WORTH_IT = 2 * PAGE
ADVICE = 14  # MADV_HUGEPAGE of linux/mman.h


def empty(shape: Sequence[int], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """`like.new_empty(shape)`, in huge pages where it is large and on a CPU."""
    made = torch.empty(shape, dtype=dtype or like.dtype, device=like.device)
    size = made.numel() * made.element_size()
    advise = _advise() if made.device.type == "cpu" and size >= WORTH_IT else None
    if advise is not None:
        start = -(-made.data_ptr() // PAGE) * PAGE
        # advice: where the kernel declines, the pages are small ones
        advise(start, (made.data_ptr() + size - start) // PAGE * PAGE, ADVICE)
    return made


@functools.cache
def _advise() -> Callable[[int, int, int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    advise.restype = ctypes.c_int
    found: Callable[[int, int, int], int] = advise
    return found
