"""Work spread over processes; what comes back is in order, so their number changes nothing."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from munro.base_model.data.errors import DataError

Job = TypeVar("Job")
Result = TypeVar("Result")

IN_FLIGHT = 2
"""Jobs handed out for each worker, so that none waits for work and few results wait for us."""


class Pool:
    """Workers that outlive one stage; with one worker everything happens in this process.

    Use as a context manager.
    """

    def __init__(self, workers: int, *, worker_gb: float) -> None:
        self.workers = workers or os.cpu_count() or 1
        self._worker_gb = worker_gb
        self._executor: ProcessPoolExecutor | None = None

    def __enter__(self) -> Pool:
        if self.workers > 1:
            self._executor = ProcessPoolExecutor(
                self.workers,
                # a fork would copy the threads' locks of whatever is loaded here
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_begin,
                initargs=(os.getpid(), self._worker_gb),
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)

    def each(self, function: Callable[[Job], Result], jobs: Sequence[Job]) -> Iterator[Result]:
        """Results of all jobs, in their order.

        Raises:
            DataError: a worker died.
        """
        if self._executor is None:
            yield from map(function, jobs)
            return
        waiting: list[Future[Any]] = []
        rest = iter(jobs)
        try:
            for job in rest:
                waiting.append(self._executor.submit(function, job))
                if len(waiting) >= IN_FLIGHT * self.workers:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        except BrokenProcessPool as error:
            raise DataError(
                "a worker process died, most likely for want of memory: run the same command again "
                "with fewer workers or a smaller part_mb; it goes on where it stopped."
            ) from error


def _begin(parent: int, worker_gb: float) -> None:
    """What a worker does first: bound its memory, and see to it that it never outlives us."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is told too, and ends us in order
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    used_bytes = _address_space()
    limit = used_bytes + int(worker_gb * 1e9)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _address_space() -> int:
    import psutil

    return int(psutil.Process().memory_info().vms)
