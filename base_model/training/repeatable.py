"""Settings of torch that make a training repeat bit for bit, put back afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from munro.kernels import vector_math


@contextmanager
def repeatable(device: torch.device, *, threads: int = 0) -> Iterator[None]:
    """On a CPU: deterministic algorithms, this many threads, and the caller's random state kept.

    Args:
        device: where the work is done; on GPUs only the threads and the random state are seen to,
            for not every kernel there has a deterministic twin.
        threads: of the CPU; 0 leaves the number alone.
    """
    deterministic = torch.are_deterministic_algorithms_enabled()
    filling = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    before = torch.get_num_threads()
    try:
        if device.type == "cpu":
            vector_math.settle()
            torch.use_deterministic_algorithms(True)
            # every new buffer would be filled with NaN before it is written
            torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        if threads:
            torch.set_num_threads(threads)
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.use_deterministic_algorithms(deterministic)
        torch.utils.deterministic.fill_uninitialized_memory = filling  # type: ignore[attr-defined]
        torch.set_num_threads(before)
