"""Lets torch's CPU functions choose their kernels before several threads ask for them at once.

torch computes `exp`, `log`, `sqrt` and the like by oneMKL, which picks a kernel for each at its
first call in a process. Where several threads make that first call together, one of them may run a
kernel of low accuracy over its whole share, once: 1e-8 wrong in float64, 1e-4 in float32, in one
process out of some hundreds (https://github.com/pytorch/pytorch/issues/188792, with oneMKL 2024.2,
which torch 2.13 carries). Then a run that was killed and goes on is not the one that was not.

The library that multiplies matrices is chosen at the same time (`munro.kernels.products`).
"""

from __future__ import annotations

import torch

from munro.kernels import products

# what torch hands to oneMKL where a tensor is contiguous
FUNCTIONS = (
    *("acos", "asin", "atan", "cos", "erf", "erfc", "erfinv", "exp", "exp2", "expm1", "log"),
    *("log10", "log1p", "log2", "rsqrt", "sigmoid", "sin", "sqrt", "tan", "tanh"),
)


def settle() -> None:
    """Call each function once on one number; a process that computes does so before its threads.

    Raises:
        NoSuchTwin: MUNRO_KERNELS names no twin.
    """
    products.settle()
    for dtype in (torch.float32, torch.float64):
        half = torch.full((1,), 0.5, dtype=dtype)
        for name in FUNCTIONS:
            getattr(torch, name)(half)
