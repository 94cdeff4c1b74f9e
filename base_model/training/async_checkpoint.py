"""Checkpoints of a training, written behind its back.

    weights, optimizer ──► copies on the host ──► writer thread ──► draft, flush, rename
    (training waits)                              (training goes on)

At most one is being written. What went wrong in the writer is raised at the next step. A process
that dies while it writes leaves the checkpoint that stood there before.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from munro.base_model.adapters import attach
from munro.base_model.checkpoint import Checkpoint
from munro.base_model.sharded.saver import Order, Saver
from munro.base_model.training.sharding import World
from munro.base_model.training.trainer import Trainer


class Writer:
    """Writes a training's checkpoints: of one rank, or of an adapter, gathered by the first rank.

    Example:
        with writer_of(trainer, tokenizer, world) as writer:
            writer.save(folder)
            writer.check()
    """

    def __init__(self, trainer: Trainer, tokenizer: Any, world: World) -> None:
        self._trainer, self._tokenizer, self._world = trainer, tokenizer, world
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

    def is_free(self) -> bool:
        """Whether one that is due may begin now; every rank must ask. It waits for the last one."""
        return True

    def save(self, path: Path) -> None:
        """Begin to write what the run can go on from, once the last one is done; of every rank.

        Raises:
            CheckpointError: the last one could not be written.
        """
        trainer = self._trainer
        weights, state = trainer.weights(), trainer.state()
        self.wait()
        if self._world.rank == 0:
            self._writing = self._pool.submit(
                Checkpoint.write,
                path,
                model=trainer.model,
                tokenizer=self._tokenizer,
                state_dict=weights,
                trainer_state=state,
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

    def finish(self, path: Path, provenance: dict[str, Any], *, keep_state: bool) -> None:
        """Write the checkpoint that others start from; of every rank, all of which then see it.

        Args:
            path: the folder.
            provenance: goes into it.
            keep_state: with the moments, for a next phase.
        """
        trainer = self._trainer
        weights = trainer.weights()
        state = trainer.state() if keep_state else None
        if self._world.rank == 0:
            Checkpoint.write(
                path,
                model=trainer.model,
                tokenizer=self._tokenizer,
                state_dict=weights,
                trainer_state=state,
                provenance=provenance,
            )
        self._world.largest(0)


class ShardedWriter(Writer):
    """The same of several ranks, each of which writes its pieces: `munro.base_model.sharded`."""

    def __init__(self, trainer: Trainer, tokenizer: Any, world: World) -> None:
        super().__init__(trainer, tokenizer, world)
        self._saver = Saver()

    def is_free(self) -> bool:
        """Whether nothing is being written on any rank: what is due is else taken a step later."""
        return not self._world.largest(bool(self._saver.saving()))

    def save(self, path: Path) -> None:
        """See `Writer.save`."""
        self._begin(path, None, "never", moments=True)

    def check(self) -> None:
        """See `Writer.check`."""
        self._saver.saving()

    def wait(self) -> None:
        """See `Writer.wait`."""
        self._saver.wait()

    def finish(self, path: Path, provenance: dict[str, Any], *, keep_state: bool) -> None:
        """See `Writer.finish`."""
        self._begin(path, provenance, "before", moments=keep_state)
        self.wait()
        self._world.largest(0)

    def _begin(
        self,
        path: Path,
        provenance: dict[str, Any] | None,
        export: Literal["before", "never"],
        *,
        moments: bool,
    ) -> None:
        order = Order(
            path=path.absolute(),
            model=self._trainer.model,
            tokenizer=lambda: self._tokenizer,
            progress=self._trainer.position(),
            provenance=provenance,
            export=export,
            keep_state=moments,
        )
        self._saver.begin(order, self._trainer.tensors(moments=moments))


def writer_of(trainer: Trainer, tokenizer: Any, world: World) -> Writer:
    """The writer for a training; every rank makes one."""
    is_sharded = world.size > 1 and not attach.is_adapted(trainer.model)
    return (ShardedWriter if is_sharded else Writer)(trainer, tokenizer, world)
