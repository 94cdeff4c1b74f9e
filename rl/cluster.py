"""The learner's ranks as Ray actors, called as one. Placement and fan-out; no decisions.

LearnerPool ──► rank 0 (publishes, saves)
           └──► rank 1, 2, ...  sharded with it by FSDP2
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import ray
from numpy.typing import NDArray

from munro.rl.batch import Batch, StepReport
from munro.rl.clip import Clip
from munro.rl.config import DeadlinesConfig, LearnerConfig
from munro.rl.ports import WeightTransfer
from munro.rollout.engine import WeightSource
from munro.rollout.openmp import preload
from munro.rollout.waits import waiting


class _Rank:
    """One learner process."""

    def address(self) -> tuple[str, int]:
        """A host and a free port at which all ranks can meet."""
        with socket.socket() as probe:
            probe.bind(("", 0))
            return ray.util.get_node_ip_address(), int(probe.getsockname()[1])

    def start(
        self,
        environment: Mapping[str, str],
        arguments: Mapping[str, Any],
        transfer: WeightTransfer | None,
    ) -> None:
        os.environ.update(environment)
        from munro.rl.learner import (
            Learner,
        )  # seconds, which whoever starts ranks need not wait for

        self._learner, self._transfer = Learner(**arguments), transfer

    def publish(self, version: int) -> WeightSource | None:
        """The transfer lives here as long as the learner: it may hold connections, or tensors."""
        assert self._transfer is not None
        return self._learner.publish(self._transfer, version)

    def settle(self) -> None:
        assert self._transfer is not None
        self._transfer.settle()

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return getattr(self._learner, method)(*args, **kwargs)


class LearnerPool:
    """All learner ranks, called as one. Implements `munro.rl.ports.Learner`; needs a running Ray.

    Args:
        model_path: folder of the model to train.
        config: `ranks` of it are started.
        deadlines: longest waits for a start, a step, and a publication.
        seed: of dropout.
        temperature: the rollouts' sampling temperature.
        entropy_estimator: which estimate `StepReport.entropy` carries.
        transfer: how weights reach the servers; None for a pool that publishes none.
        num_cpus: cores that Ray sets aside for a rank.
        num_gpus: GPUs that Ray sets aside for a rank.
        options: further Ray actor options (`runtime_env`, `max_restarts`, ...).

    Raises:
        Stalled: a wait overran its deadline; the wait is named.
        RayTaskError: what a rank raised, also catchable as that exception.
        RayActorError: a rank died.
    """

    def __init__(
        self,
        model_path: str | Path,
        config: LearnerConfig,
        *,
        deadlines: DeadlinesConfig,
        seed: int,
        temperature: float = 1.0,
        entropy_estimator: Literal["plain", "clipped"] = "plain",
        transfer: WeightTransfer | None = None,
        num_cpus: float = 0,
        num_gpus: float = 0,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._deadlines = deadlines
        settings = {"runtime_env": {"env_vars": preload()}, **(options or {})}
        actor = ray.remote(_Rank).options(num_cpus=num_cpus, num_gpus=num_gpus, **settings)
        self._ranks: list[Any] = [actor.remote() for _ in range(config.ranks)]
        where = self._ranks[0].address.remote()
        ((host, port),) = self._wait([where], "learner processes", deadlines.start_s)
        transfer = transfer and transfer.at(host)
        arguments = {
            "model_path": str(model_path),
            "config": config,
            "seed": seed,
            "temperature": temperature,
            "entropy_estimator": entropy_estimator,
        }
        starting = [
            actor.start.remote(_environment(rank, config.ranks, host, port), arguments, transfer)
            for rank, actor in enumerate(self._ranks)
        ]
        self._wait(starting, "the learner to load its model", deadlines.start_s)

    def step(self, batch: Batch, *, clip: Clip) -> StepReport:
        """One optimizer step on a global batch; see `Learner.step`."""
        shares = batch.split(len(self._ranks))
        calls = [
            rank.call.remote("step", share, clip=clip)
            for rank, share in zip(self._ranks, shares, strict=True)
        ]
        report: StepReport = self._wait(calls, "an optimizer step", self._deadlines.step_s)[0]
        return report

    def score(
        self, token_ids: Sequence[Sequence[int]], *, base: bool = False
    ) -> list[NDArray[np.float32]]:
        """Full-vocabulary log-probabilities at temperature 1; see `Learner.score`."""
        within_s = self._deadlines.sync_s
        scores: list[NDArray[np.float32]] = self._all(
            "score", token_ids, what="the learner's scores", within_s=within_s, base=base
        )
        return scores

    def publish(self, version: int) -> WeightSource:
        """Put the weights where servers on rank 0's node can read them."""
        calls = [rank.publish.remote(version) for rank in self._ranks]
        what = f"the learner to publish version {version}"
        source: WeightSource = self._wait(calls, what, self._deadlines.sync_s)[0]
        return source

    def settle(self) -> None:
        """All servers have the weights that were published last."""
        calls = [self._ranks[0].settle.remote()]
        self._wait(calls, "the learner to be done with an update", self._deadlines.sync_s)

    def release(self) -> None:
        """Give back the GPU memory that is not held; see `Learner.release`."""
        self._all("release", what="the learner to free memory", within_s=self._deadlines.step_s)

    def save(self, folder: str | Path, provenance: Mapping[str, Any]) -> None:
        """Write a checkpoint; see `Learner.save`."""
        self._all(
            "save",
            str(folder),
            dict(provenance),
            what=f"the learner to save {folder}",
            within_s=self._deadlines.step_s,
        )

    def load(self, folder: str | Path) -> None:
        """Resume from a checkpoint; see `Learner.load`."""
        self._all(
            "load",
            str(folder),
            what=f"the learner to load {folder}",
            within_s=self._deadlines.start_s,
        )

    def close(self) -> None:
        """End every rank's process."""
        for rank in self._ranks:
            ray.kill(rank)

    def _all(self, method: str, *args: Any, what: str, within_s: float, **named: Any) -> Any:
        """Call every rank; return what rank 0 answers."""
        calls = [rank.call.remote(method, *args, **named) for rank in self._ranks]
        return self._wait(calls, what, within_s)[0]

    def _wait(self, calls: list[Any], what: str, within_s: float) -> list[Any]:
        with waiting(what, within_s) as wait:
            answers: list[Any] = ray.get(calls, timeout=wait.remaining)
        return answers


def _environment(rank: int, ranks: int, host: str, port: int) -> dict[str, str]:
    """What torch.distributed and accelerate read; one rank needs none of it."""
    if ranks == 1:
        return {}
    return {
        "RANK": str(rank),
        "LOCAL_RANK": "0",
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": "1",
        "MASTER_ADDR": host,
        "MASTER_PORT": str(port),
    }
