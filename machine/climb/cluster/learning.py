"""The learner of a climb: its ranks as one, what their death turns into, and their checkpoints."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from ray.exceptions import RayActorError, RayTaskError

from munro.base_model.sharded.stage import Stage
from munro.machine.climb.cluster.carrying import (
    bring,
    exists,
    is_seen,
    remove,
    scratch_of,
    send,
    write,
)
from munro.machine.config import RunConfig
from munro.machine.loading import BadConfig
from munro.rl.batch import StepReport
from munro.rl.clip import Clip
from munro.rl.cluster import LearnerPool
from munro.rollout.cluster import Servers
from munro.rollout.engine import WeightSource
from munro.rollout.types import Outcome
from munro.rollout.waits import Stalled

SEEN = "seen"


class LearnerLost(Exception):
    """A learner process died or hangs: the learner goes back to its last checkpoint."""

    is_sentence = True


class LearnerHangs(LearnerLost):
    """It did not answer within its deadline."""


class Turns:
    """Who has the GPU that a server and the learner share."""

    def __init__(self, servers: Servers, config: RunConfig) -> None:
        self._servers, self._deadline_s = servers, config.deadlines.sync_s
        # where every step is followed by new weights, all of them, the old ones need not be kept
        replaced = config.sync.every_steps == 1 and config.learner.lora is None
        self._level = 2 if replaced else 1

    def learner(self) -> None:
        """The servers sleep until they get new weights, or are asked for something."""
        self._servers.sleep(self._deadline_s, level=self._level)

    def servers(self) -> None:
        """They are asked for something."""
        self._servers.wake(self._deadline_s)


class Trainer:
    """The learner's ranks with their way to publish; a death is a `LearnerLost`."""

    def __init__(self, pool: LearnerPool, *, turns: Turns | None, elsewhere: bool = False) -> None:
        """
        Args:
            pool: all ranks.
            turns: with servers on the same GPU.
            elsewhere: ranks may run on nodes that do not see this one's disk.
        """
        self._pool, self._turns, self._elsewhere = pool, turns, elsewhere
        self._coming: tuple[str, Path] | None = None

    def step(self, groups: Sequence[Outcome], *, clip: Clip) -> StepReport:
        """One optimizer step."""
        if self._turns:
            self._turns.learner()
        with lost("an optimizer step", self._pool):
            report = self._pool.step(groups, clip=clip)
            if self._turns:
                self._pool.release()
            return report

    def publish(self, version: int) -> WeightSource:
        """Write the current weights where servers can read them."""
        with lost("publishing its weights", self._pool):
            return self._pool.publish(version)

    def require_alive(self) -> None:
        """Nobody waits for the weights of ranks that are gone.

        Raises:
            LearnerLost: one is.
        """
        with lost("servers take its weights", self._pool):
            if self._pool.has_lost_a_rank():
                raise LearnerLost("a rank of the learner died while servers take its weights")

    def score(
        self, streams: Sequence[Sequence[int]], *, base: bool = False
    ) -> list[NDArray[np.float32]]:
        """Log-probability of each token given those before it: the proof, after an update."""
        with lost("scoring", self._pool):
            # the servers have read what was published: the proof comes after
            self._pool.settle()
            return self._pool.score(streams, base=base)

    def save(
        self, folder: str, provenance: Mapping[str, object], *, wait: bool, export: bool
    ) -> None:
        """Write a checkpoint, or begin to; see `saving`.

        What the ranks can write only on their own node is brought here once it stands there.
        """
        here = Path(folder).absolute()
        with lost("writing a checkpoint", self._pool):
            there = str(here)
            if not self._sees(0, here.parent):
                there = self._scratch(0, here)
                self._coming = (there, here)
            self._pool.save(there, provenance, wait=wait, export=export)
            if wait:
                self._bring()

    def saving(self) -> Stage:
        """How far it is with a checkpoint that it began to write."""
        with lost("writing a checkpoint", self._pool):
            stage = self._pool.saving()
            if stage and self._coming:
                return "writing"  # what has not come does not stand
            self._bring()
            return stage

    def _bring(self) -> None:
        if self._coming:
            bring(*self._coming, self._call(0))
            self._coming = None

    def require_place(self, checkpoints: Path) -> None:
        """Checkpoints can be written, whatever nodes see the folder that they belong in.

        Raises:
            BadConfig: several ranks write one, and see neither that folder nor one of their own.
        """
        if self._pool.num_ranks == 1 or self._sees(0, checkpoints):
            unseen = [] if self._pool.num_ranks == 1 else self._unseen(checkpoints)
        else:
            place = self._scratch(0, checkpoints)
            self._call(0)(write, place, SEEN, 0, b"")
            others = range(1, self._pool.num_ranks)
            unseen = [rank for rank in others if not self._call(rank)(exists, f"{place}/{SEEN}")]
            self._call(0)(remove, place)
        if unseen:
            host = self._call(unseen[0])(socket.gethostname)
            raise BadConfig(
                f"the node {host}, where rank {unseen[0]} of the learner runs, does not see "
                f"{checkpoints}, and every rank writes its part of a checkpoint there: put the "
                "run's folder on a file system that the learner's nodes share (folder = ...), or "
                "all ranks on one node."
            )

    def _unseen(self, folder: Path) -> list[int]:
        return [rank for rank in range(self._pool.num_ranks) if not self._sees(rank, folder)]

    def load(self, folder: Path) -> None:
        """Take optimizer and random states from a checkpoint, sent to nodes that do not see it."""
        here = Path(folder).absolute()
        with lost("loading a checkpoint", self._pool):
            places = [self._placed(rank, here) for rank in range(self._pool.num_ranks)]
            self._pool.load(places)
            for rank, place in enumerate(places):
                if place != str(here):
                    self._call(rank)(remove, place)

    def again(self, checkpoint: Path | None) -> int:
        """Start anew from a checkpoint, or from the model; how many ranks had to be replaced.

        Raises:
            LearnerLost: one died again meanwhile.
        """
        self._coming = None
        with lost("coming back", self._pool):
            replaced = self._pool.again()
        if checkpoint is not None:
            self.load(checkpoint)
        return replaced

    def close(self) -> None:
        """End the learner's processes."""
        self._pool.close()

    def _sees(self, rank: int, folder: Path) -> bool:
        return not self._elsewhere or is_seen(folder, self._call(rank))

    def _placed(self, rank: int, here: Path) -> str:
        if self._sees(rank, here.parent):
            return str(here)
        there = self._scratch(rank, here)
        send(here, there, self._call(rank))
        return there

    def _scratch(self, rank: int, here: Path) -> str:
        return f"{self._call(rank)(scratch_of, str(here))}/{here.name}"

    def _call(self, rank: int) -> partial[object]:
        return partial(self._pool.run_on, rank)


@contextmanager
def lost(doing: str, pool: LearnerPool | None = None) -> Iterator[None]:
    """What a rank's death or silence turns into; the others hear of it from the broken group.

    Raises:
        LearnerLost: a process died.
        LearnerHangs: it overran its deadline.
    """
    try:
        yield
    except RayActorError as error:
        first = (str(error).strip().splitlines() or [""])[0]
        raise LearnerLost(f"the learner died while {doing} ({first})") from error
    except RayTaskError as error:
        if pool and isinstance(error.cause, RuntimeError) and pool.has_lost_a_rank():
            first = (str(error.cause).strip().splitlines() or [""])[0]
            raise LearnerLost(f"a rank of the learner died while {doing} ({first})") from error
        # what was raised in the learner says more than where Ray carried it through
        raise error.cause if isinstance(error.cause, Exception) else error from None
    except Stalled as stalled:
        raise LearnerHangs(f"the learner hangs while {doing}: {stalled}") from stalled
