"""Attention over rows that are trees, documents or plain, with windows; skips what nobody sees.

reference.py   the definition, every pair written out; masks of all pairs
masks.py       which blocks see which, from blocks' smallest and largest numbers
rows.py        what a micro-batch hands to every layer
attend.py      which way a layer goes
fused.py       FlexAttention and flash attention by lengths, on NVIDIA's GPUs
gathered.py    some queries at a time over the keys that they see, on the CPU
by_blocks.py   some queries at a time, elsewhere
models.py      registered with transformers
"""

from __future__ import annotations

from munro.kernels.attention.attend import UnsupportedAttention, attend
from munro.kernels.attention.masks import block_mask
from munro.kernels.attention.models import NAME, computes, give, register, row_mask, takes
from munro.kernels.attention.reference import tree_mask
from munro.kernels.attention.rows import TWINS, Documents, Ranks, RowMask, documents_in

__all__ = [
    "NAME",
    "TWINS",
    "Documents",
    "Ranks",
    "RowMask",
    "UnsupportedAttention",
    "attend",
    "block_mask",
    "computes",
    "documents_in",
    "give",
    "register",
    "row_mask",
    "takes",
    "tree_mask",
]
