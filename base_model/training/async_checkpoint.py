"""Checkpoints written behind the training's back.

    weights, optimizer ──► copies on the host ──► writer thread ──► draft, flush, rename
    (training waits)                              (training goes on)

At most one is being written: the next waits for it. What went wrong in the writer is raised at
the next step. A process that dies while it writes leaves the checkpoint that stood there before.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from torch import Tensor

from munro.base_model.checkpoint import Checkpoint
from munro.base_model.training.sharding import gathered


def on_host(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies that training does not touch, on the first rank's host; see `gathered`."""
    return gathered(tensors, copy=True)


class CheckpointWriter:
    """Writes one checkpoint after another to the same place, from one thread.

    Example:
        with CheckpointWriter(folder, tokenizer) as writer:
            writer.write(model, on_host(model.state_dict(keep_vars=True)), {"step": 100})
            writer.check()
    """

    def __init__(self, path: Path, tokenizer: Any) -> None:
        self._path, self._tokenizer = path, tokenizer
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[Checkpoint] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let the one being written be finished."""
        self._pool.shutdown(wait=True)

    def write(
        self, model: Any, weights: Mapping[str, Tensor], trainer_state: Mapping[str, Any]
    ) -> None:
        """Begin to write, once the last one is done.

        Args:
            model: asked for its config only.
            weights: of `on_host`.
            trainer_state: tensors on the host and plain containers.

        Raises:
            CheckpointError: the last one could not be written.
        """
        self.wait()
        self._writing = self._pool.submit(
            Checkpoint.write,
            self._path,
            model=model,
            tokenizer=self._tokenizer,
            state_dict=weights,
            trainer_state=trainer_state,
        )

    def check(self) -> None:
        """Say what went wrong in the writer, if it is done.

        Raises:
            CheckpointError: the last one could not be written.
        """
        if self._writing is not None and self._writing.done():
            self.wait()

    def wait(self) -> None:
        """Until nothing is being written.

        Raises:
            CheckpointError: the last one could not be written.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()
