"""The learner's ranks as Ray actors, called as one. Placement and fan-out; no decisions.

LearnerPool ──► rank 0 (publishes, saves)
           ├──► rank 1, 2, ...  sharded with it by FSDP2
           └──► spares, which have imported everything and take a dead rank's place

Each rank is told which attempts are its own, and fetches their tokens from where they were made.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import ray
from numpy.typing import NDArray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from munro.base_model.sharded.stage import Stage
from munro.rl.batch import Batch, StepReport, batch_of
from munro.rl.clip import Clip
from munro.rl.config import DeadlinesConfig, LearnerConfig
from munro.rl.policy.sharing import Share, shares
from munro.rl.ports import WeightTransfer
from munro.rollout.cluster.stores import fetched
from munro.rollout.engine import WeightSource
from munro.rollout.openmp import preload
from munro.rollout.types import Outcome
from munro.rollout.waits import waiting

if TYPE_CHECKING:
    from munro.rl.learner import Learner

LOOK_S = 1.0
"""What a spare that is dead takes to be known as such, and more."""
LEAVE_S = 15.0
"""What a living rank gets to leave the group that lost one of its others; then it is replaced."""


class _Rank:
    """One learner process."""

    _batch: Batch | None = None
    _learner: Learner | None
    _transfer: WeightTransfer | None = None

    def get_ready(self, model_path: str) -> None:
        """Do beforehand what takes seconds and needs no other rank: imports, and the model without
        memory for its weights."""
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        import munro.base_model.model.model  # which transformers then knows
        import munro.rl.learner  # noqa: F401
        from munro.base_model.checkpoint import Checkpoint

        folder = Checkpoint(model_path).base()
        with torch.device("meta"):
            AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))

    def leave(self) -> None:
        """Leave a group that has lost a rank, and forget the model: `start` comes next."""
        import torch

        self._learner = self._batch = None
        if self._transfer is not None:
            self._transfer.leave()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        if "accelerate" in sys.modules:  # which remembers the group
            from accelerate.state import AcceleratorState, GradientState

            AcceleratorState._reset_state(reset_partial_state=True)
            GradientState._reset_state()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """What a plain function returns in this process, on its node."""
        return function(*args)

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

        self._learner = Learner(**arguments)
        self._transfer = transfer

    def fetch(self, share: Share) -> None:
        """Take in the tokens of the next step, before any rank waits for another."""
        columns = fetched([part.place for part in share.parts if part.place is not None])
        self._batch = batch_of(share, [one.attempts() for one in columns])

    def step(self, clip: Clip) -> StepReport:
        """One optimizer step on what was fetched, which is then forgotten."""
        batch, self._batch = self._batch, None
        assert batch is not None, "fetched before"
        assert self._learner is not None
        return self._learner.step(batch, clip=clip)

    def publish(self, version: int) -> WeightSource | None:
        """The transfer lives here as long as the learner: it may hold connections, or tensors."""
        assert self._transfer is not None
        assert self._learner is not None
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
        places: Ray's scheduling strategy for each rank; anywhere where there are none. Spares are
            spread, for they are to outlive a node.

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
        places: Sequence[Any] = (),
    ) -> None:
        self._deadlines, self._transfer, self._config = deadlines, transfer, config
        settings = {"runtime_env": {"env_vars": preload()}, **(options or {})}
        self._options = {"num_cpus": num_cpus, "num_gpus": num_gpus, **settings}
        self._places = list(places)
        self._standby = config.standby
        self._arguments = {
            "model_path": str(model_path),
            "config": config,
            "seed": seed,
            "temperature": temperature,
            "entropy_estimator": entropy_estimator,
        }
        self._ranks: list[Any] = [self._new(rank) for rank in range(config.ranks)]
        self._meet()
        self._spares: list[Any] = []
        self._stand_by()

    def _new(self, rank: int) -> Any:
        """A process in that rank's place."""
        where = {"scheduling_strategy": self._places[rank]} if self._places else {}
        return ray.remote(_Rank).options(**self._options, **where).remote()

    def _meet(self) -> None:
        """Have all ranks form a group and load the model."""
        where = self._ranks[0].address.remote()
        ((host, port),) = self._wait([where], "learner processes", self._deadlines.start_s)
        transfer = self._transfer and self._transfer.at(host)
        starting = [
            actor.start.remote(
                _environment(rank, len(self._ranks), host, port), self._arguments, transfer
            )
            for rank, actor in enumerate(self._ranks)
        ]
        self._wait(starting, "the learner to load its model", self._deadlines.start_s)

    def _stand_by(self) -> None:
        """Have as many spares as the config asks for; nobody waits for them."""
        while len(self._spares) < self._standby:
            away = {**self._options, "scheduling_strategy": "SPREAD"}
            spare = ray.remote(_Rank).options(**away).remote()
            spare.get_ready.remote(self._arguments["model_path"])
            self._spares.append(spare)

    def again(self) -> int:
        """Put spares or new processes in the place of ranks that died or hang, and start anew.

        Those that live keep their processes. All load the model; `load` brings a checkpoint.

        Returns:
            How many ranks were replaced.
        """
        living = _answer([rank.leave.remote() for rank in self._ranks], LEAVE_S)
        # one that still imports is further than a new process would be
        calls = [spare.address.remote() for spare in self._spares]
        if calls:
            ray.wait(calls, num_returns=len(calls), timeout=LOOK_S)
        spares = [one for one, call in zip(self._spares, calls, strict=True) if not _is_dead(call)]
        self._end([spare for spare in self._spares if spare not in spares])
        replaced = 0
        for place, lives in enumerate(living):
            if not lives:
                self._end([self._ranks[place]])
                self._ranks[place] = spares.pop(0) if spares else self._new(place)
                replaced += 1
        self._spares = spares
        self._meet()
        self._stand_by()
        return replaced

    def has_lost_a_rank(self) -> bool:
        """Whether one is dead; its group's end may be heard of a little before its own."""
        calls = [rank.address.remote() for rank in self._ranks]
        ray.wait(calls, num_returns=len(calls), timeout=LEAVE_S)
        return any(_is_dead(call) for call in calls)

    @property
    def num_ranks(self) -> int:
        """Of the group, without spares."""
        return len(self._ranks)

    def run_on(self, rank: int, function: Callable[..., Any], *args: Any) -> Any:
        """What a plain function returns in a rank's process, on its node."""
        what = f"rank {rank} of the learner to run {function.__name__}"
        call = self._ranks[rank].run.remote(function, *args)
        return self._wait([call], what, self._deadlines.sync_s)[0]

    def step(self, groups: Sequence[Outcome], *, clip: Clip) -> StepReport:
        """One optimizer step on groups, which the ranks fetch; see `Learner.step`.

        Raises:
            PayloadLost: tokens of some are gone; no rank has begun.
        """
        within_s = self._deadlines.step_s
        parts = shares(groups, self._config.data_ranks)
        fetching = [
            rank.fetch.remote(parts[self._config.data_rank(number)])
            for number, rank in enumerate(self._ranks)
        ]
        self._wait(fetching, "the learner to fetch its groups", within_s)
        calls = [rank.step.remote(clip) for rank in self._ranks]
        report: StepReport = self._wait(calls, "an optimizer step", within_s)[0]
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

    def save(
        self,
        folder: str | Path,
        provenance: Mapping[str, Any],
        *,
        wait: bool = True,
        export: bool = True,
    ) -> None:
        """Write a checkpoint; see `Learner.save`."""
        self._all(
            "save",
            str(folder),
            dict(provenance),
            what=f"the learner to save {folder}",
            within_s=self._deadlines.step_s,
            wait=wait,
            export=export,
        )

    def saving(self) -> Stage:
        """The first rank's word; what went wrong on any; see `Learner.saving`."""
        calls = [rank.call.remote("saving") for rank in self._ranks]
        what = "what the learner has saved"
        stages: list[Stage] = self._wait(calls, what, self._deadlines.step_s)
        # a rank may be done a moment before another
        return max(stages, key=("", "exporting", "writing").index)

    def load(self, folders: str | Path | Sequence[str]) -> None:
        """Resume from a checkpoint, the same one whatever its folder is on each rank's node.

        See `Learner.load`.
        """
        each = [str(folders)] * len(self._ranks) if isinstance(folders, str | Path) else folders
        calls = [
            rank.call.remote("load", folder) for rank, folder in zip(self._ranks, each, strict=True)
        ]
        self._wait(calls, f"the learner to load {each[0]}", self._deadlines.start_s)

    def close(self) -> None:
        """End every rank's process."""
        self._end([*self._ranks, *self._spares])

    @staticmethod
    def _end(actors: Sequence[Any]) -> None:
        for actor in actors:
            ray.kill(actor)

    def _all(self, method: str, *args: Any, what: str, within_s: float, **named: Any) -> Any:
        """Call every rank; return what rank 0 answers."""
        calls = [rank.call.remote(method, *args, **named) for rank in self._ranks]
        return self._wait(calls, what, within_s)[0]

    def _wait(self, calls: list[Any], what: str, within_s: float) -> list[Any]:
        with waiting(what, within_s) as wait:
            answers: list[Any] = ray.get(calls, timeout=wait.remaining)
        return answers


def _answer(calls: Sequence[Any], within_s: float) -> list[bool]:
    """Which of the calls are answered in time; what was raised is no answer."""
    done = set(ray.wait(list(calls), num_returns=len(calls), timeout=within_s)[0]) if calls else ()
    return [call in done and _is_answer(call) for call in calls]


def _is_answer(call: Any) -> bool:
    try:
        ray.get(call)
    except (RayActorError, RayTaskError):
        return False
    return True


def _is_dead(call: Any) -> bool:
    try:
        ray.get(call, timeout=0)
    except RayActorError:
        return True
    except (RayTaskError, GetTimeoutError):  # it lives, and is busy
        return False
    return False


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
