"""Settings of torch that make a training repeat bit for bit, put back afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from munro.kernels import vector_math


@contextmanager
def repeatable(device: torch.device, *, threads: int = 0) -> Iterator[None]:
    """Deterministic algorithms, this many threads, and the caller's random state kept.

    Args:
        device: where the work is done; see `repeat`.
        threads: of the CPU; 0 leaves the number alone.
    """
    deterministic = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    filling = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    before = torch.get_num_threads()
    try:
        repeat(device)
        if threads:
            torch.set_num_threads(threads)
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.use_deterministic_algorithms(deterministic, warn_only=warns)
        torch.utils.deterministic.fill_uninitialized_memory = filling  # type: ignore[attr-defined]
        torch.set_num_threads(before)


def repeat(device: torch.device) -> None:
    """Have this process compute the same bits in every run, from here on.

    On a GPU wherever torch can: it warns of a kernel that has no deterministic twin. To be called
    before the first product there, for cuBLAS takes its workspace then.
    """
    if device.type == "cpu":
        vector_math.settle()
    else:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=device.type != "cpu")
    # every new buffer would be filled with NaN before it is written
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
