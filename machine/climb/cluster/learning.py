"""The learner of a climb: its ranks as one, what their death turns into, and their checkpoints."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from ray.exceptions import RayActorError, RayTaskError

from munro.machine.climb.cluster.carrying import bring, is_seen, remove, scratch_of, send
from munro.machine.config import RunConfig
from munro.machine.run.files import RunError
from munro.rl.batch import Batch, StepReport
from munro.rl.clip import Clip
from munro.rl.cluster import LearnerPool
from munro.rollout.cluster import Servers
from munro.rollout.engine import WeightSource
from munro.rollout.waits import Stalled

SEEN_WITHIN_S = 30.0


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

    def step(self, batch: Batch, *, clip: Clip) -> StepReport:
        """One optimizer step."""
        if self._turns:
            self._turns.learner()
        with lost("an optimizer step"):
            report = self._pool.step(batch, clip=clip)
            if self._turns:
                self._pool.release()
            return report

    def publish(self, version: int) -> WeightSource:
        """Write the current weights where servers can read them."""
        with lost("publishing its weights"):
            return self._pool.publish(version)

    def score(
        self, streams: Sequence[Sequence[int]], *, base: bool = False
    ) -> list[NDArray[np.float32]]:
        """Log-probability of each token given those before it: the proof, after an update."""
        with lost("scoring"):
            # the servers have read what was published: the proof comes after
            self._pool.settle()
            return self._pool.score(streams, base=base)

    def save(self, folder: str, provenance: Mapping[str, object]) -> None:
        """Write a checkpoint; one that rank 0 can write only on its own node is brought here."""
        here = Path(folder).absolute()
        with lost("writing a checkpoint"):
            if self._sees(0, here.parent):
                self._pool.save(str(here), provenance)
                _wait_to_see(here)
                return
            there = f"{self._call(0)(scratch_of, str(here))}/{here.name}"
            self._pool.save(there, provenance)
            bring(there, here, self._call(0))

    def load(self, folder: Path) -> None:
        """Take optimizer and random states from a checkpoint, sent to nodes that do not see it."""
        here = Path(folder).absolute()
        with lost("loading a checkpoint"):
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
        with lost("coming back"):
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
        there = f"{self._call(rank)(scratch_of, str(here))}/{here.name}"
        send(here, there, self._call(rank))
        return there

    def _call(self, rank: int) -> partial[object]:
        return partial(self._pool.run_on, rank)


def _wait_to_see(folder: Path) -> None:
    """A shared file system may take a while to show what another node wrote.

    Raises:
        RunError: it does not.
    """
    end = time.monotonic() + SEEN_WITHIN_S
    while not folder.is_dir():
        if time.monotonic() > end:
            raise RunError(
                f"the learner wrote {folder}, but {socket.gethostname()} does not see it there: "
                "what it saw was the same folder a moment ago. Look at that file system."
            )
        time.sleep(0.1)


@contextmanager
def lost(doing: str) -> Iterator[None]:
    """What a rank's death or silence turns into.

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
        # what was raised in the learner says more than where Ray carried it through
        raise error.cause if isinstance(error.cause, Exception) else error from None
    except Stalled as stalled:
        raise LearnerHangs(f"the learner hangs while {doing}: {stalled}") from stalled
