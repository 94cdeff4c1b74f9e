"""All processes of one climb, started and ended together.

driver (this process) ──► Solvers (problem workers) ──► Servers (inference)
                     └──► Trainer (learner ranks) ── weights in shared memory ──► Servers
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import ray
from numpy.typing import NDArray
from ray.exceptions import RayActorError, RayTaskError

from munro.base_model.sharded.stage import Stage
from munro.envs.loader import resolve_config
from munro.envs.types import Task
from munro.machine.climb.adapters import served_model, told, transfer, with_whole_judges
from munro.machine.climb.cluster.node import Places, ray_node, require_shared, reserved
from munro.machine.climb.memory import resident_bytes
from munro.machine.climb.needs import transfer_of
from munro.machine.climb.sizes import model_config
from munro.machine.config import EvalConfig, RunConfig
from munro.machine.loading import BadConfig
from munro.rewards.service.cluster import Graders
from munro.rewards.service.meter import merged
from munro.rewards.service.setup import anywhere
from munro.rl.batch import Batch, StepReport
from munro.rl.clip import Clip
from munro.rl.cluster import LearnerPool
from munro.rl.plugs import resolved
from munro.rl.ports import WeightTransfer
from munro.rollout import waits
from munro.rollout.cluster import Servers, Solvers
from munro.rollout.engine import Sharing, WeightSource
from munro.rollout.setting import Setting
from munro.rollout.types import Abandoned, Group
from munro.rollout.weights import SharedMemoryWeights, place, sweep

SHARED_HALF = 0.5
"""Of a GPU, as Ray counts: what server and learner each take of one that they share."""


class LearnerLost(Exception):
    """A learner process died: the climb goes back to its last checkpoint."""

    is_sentence = True


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

    def __init__(self, pool: LearnerPool, *, turns: Turns | None) -> None:
        """
        Args:
            pool: all ranks.
            turns: with servers on the same GPU.
        """
        self._pool, self._turns = pool, turns

    def step(self, batch: Batch, *, clip: Clip) -> StepReport:
        """One optimizer step."""
        if self._turns:
            self._turns.learner()
        with _lost("an optimizer step"):
            report = self._pool.step(batch, clip=clip)
            if self._turns:
                self._pool.release()
            return report

    def publish(self, version: int) -> WeightSource:
        """Write the current weights where servers can read them."""
        with _lost("publishing its weights"):
            return self._pool.publish(version)

    def score(
        self, streams: Sequence[Sequence[int]], *, base: bool = False
    ) -> list[NDArray[np.float32]]:
        """Log-probability of each token given those before it: the proof, after an update."""
        with _lost("scoring"):
            # the servers have read what was published: the proof comes after
            self._pool.settle()
            return self._pool.score(streams, base=base)

    def save(
        self, folder: str, provenance: Mapping[str, object], *, wait: bool, export: bool
    ) -> None:
        """Write a checkpoint, or begin to."""
        with _lost("writing a checkpoint"):
            self._pool.save(str(Path(folder).absolute()), provenance, wait=wait, export=export)

    def saving(self) -> Stage:
        """How far it is with a checkpoint that it began to write."""
        with _lost("writing a checkpoint"):
            return self._pool.saving()

    def load(self, folder: Path) -> None:
        """Take optimizer and random states from a checkpoint."""
        with _lost("loading a checkpoint"):
            self._pool.load(Path(folder).absolute())

    def close(self) -> None:
        """End the learner's processes."""
        self._pool.close()


class Workers:
    """Problem workers, as the loop and the evaluations call them."""

    def __init__(
        self,
        solvers: Solvers,
        deadline_s: float,
        graders: Graders | None,
        turns: Turns | None = None,
    ) -> None:
        self._solvers, self._deadline_s, self._graders = solvers, deadline_s, graders
        self._turns = turns

    def submit(self, index: int, max_response_tokens: int) -> None:
        """Hand out a task."""
        self._solvers.submit(index, max_response_tokens)

    def collect(self, timeout_s: float) -> list[Group | Abandoned]:
        """What has come back."""
        return self._solvers.collect(timeout_s)

    def solve_all(
        self, tasks: Sequence[tuple[int, int]], deadline_s: float
    ) -> list[Group | Abandoned]:
        """Solve a wave in lockstep."""
        if self._turns:
            self._turns.servers()
        return self._solvers.solve_all(tasks, deadline_s)

    def task_id(self, index: int) -> str:
        """Id of a task of the stream."""
        return self._solvers.task_id(index)

    def metrics(self) -> dict[str, float]:
        """What was graded since the last call, by kind, wherever it was."""
        elsewhere = [self._graders.metrics()] if self._graders is not None else []
        return merged([self._solvers.metrics(), *elsewhere])

    def evaluate(self, config: EvalConfig, max_response_tokens: int) -> list[Group]:
        """Held-out attempts."""
        if self._turns:
            self._turns.servers()
        return self._solvers.evaluate(
            config.num_tasks, config.runs, max_response_tokens, self._deadline_s
        )

    def attempts(
        self, items: Sequence[tuple[int, Task, int, Sequence[int]]]
    ) -> list[Group | Abandoned]:
        """Certain attempts at tasks: (index, task, max_response_tokens, numbers)."""
        if self._turns:
            self._turns.servers()
        return self._solvers.attempts(items, self._deadline_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Handles of everything that runs."""

    servers: Servers
    solvers: Workers
    learner: Trainer | None
    vocabulary: int
    longest: int | None
    """Tokens that a server can score at once: the context, but for the one that comes after."""
    warnings: tuple[str, ...] = ()
    """What a person should know, a line each."""

    @property
    def trainer(self) -> Trainer:
        """The learner of a fleet that was started with one."""
        assert self.learner is not None
        return self.learner

    @staticmethod
    def pids() -> list[int]:
        """This process and all its descendants, Ray's and the engines' among them."""
        return [os.getpid(), *(p.pid for p in psutil.Process().children(recursive=True))]


@contextmanager
def start_fleet(
    config: RunConfig, model: Path, folder: Path, *, learner: bool = True
) -> Iterator[Fleet]:
    """Start servers, workers and learner for `model`; end all of them whatever happens.

    Raises:
        BadConfig: the model has less context than the config asks for.
        BadAdapter: the model cannot have the adapter that the config asks for.
        CheckpointError: the model is an adapter, and it or its base is not whole.
        Stalled: something did not come up in time.
    """
    config, trained = with_whole_judges(config, folder.absolute()), Path(model).absolute()
    model = served_model(config, trained, folder.absolute(), learner=learner)
    adapters = told(config, model, learner=learner)
    setting = replace(_setting(config, model, folder), adapters=adapters)
    weights = transfer(setting.weights, adapters)
    with ray_node(config), _published(folder), reserved(config, learner=learner) as places:
        require_shared(config, setting)
        setting = _placed(setting, config, places, learner=learner)
        running: list[Any] = []
        try:
            # a broadcast is for all, or it does not end
            all_of_them = setting.sharing.transfer == "nccl"
            servers = Servers(setting, least=0 if all_of_them else config.sync.min_servers)
            running.append(servers)
            turns = Turns(servers, config) if config.ray.colocate and learner else None
            if turns:
                # vLLM measures what is free as it starts: the learner comes once it has let go
                servers.wait_ready(config.deadlines.start_s)
                turns.learner()
            graders = None
            if config.rewards.service.actors:
                graders = Graders(config.rewards, config.judge)
                running.append(graders)
                graders.wait_ready(config.deadlines.start_s)
                setting = replace(setting, graders=graders.known_as)
            solvers = Solvers(setting, servers)
            running.append(solvers)
            trainer = None
            if learner:
                with _lost("loading its model"):
                    way = _way(config, setting, weights)
                    start = trained if adapters else model
                    trainer = _trainer(config, start, way, places, turns)
                running.append(trainer)
            solvers.wait_ready(config.deadlines.start_s)
            servers.wait_ready(config.deadlines.start_s)
            yield Fleet(
                servers=servers,
                solvers=Workers(solvers, config.deadlines.groups_s, graders, turns),
                learner=trainer,
                longest=setting.max_context - 1 if setting.max_context else None,
                vocabulary=int(model_config(model).get_text_config().vocab_size),
                warnings=tuple(solvers.warnings),
            )
        finally:
            for part in reversed(running):
                part.close()
            weights.close()


@contextmanager
def _lost(doing: str) -> Iterator[None]:
    try:
        yield
    except RayActorError as error:
        first = (str(error).strip().splitlines() or [""])[0]
        raise LearnerLost(f"the learner died while {doing} ({first})") from error
    except RayTaskError as error:
        # what was raised in the learner says more than where Ray carried it through
        raise error.cause if isinstance(error.cause, Exception) else error from None


@contextmanager
def _published(folder: Path) -> Iterator[None]:
    stop = waits.publish(folder, "driver")
    try:
        yield
    finally:
        stop()


def _placed(setting: Setting, config: RunConfig, places: Places, *, learner: bool) -> Setting:
    """The setting, once it is known where and beside whom servers run."""
    on_gpu = bool(ray.cluster_resources().get("GPU"))
    setting = replace(setting, placement=places.all or setting.placement)
    if not learner:
        return setting
    together = config.ray.colocate
    sharing = Sharing(
        transfer=transfer_of(config, on_gpu=on_gpu),
        sleeps=together,
        learner_bytes=resident_bytes(config, Path(setting.model)) if together and on_gpu else 0,
    )
    if not together:
        return replace(setting, sharing=sharing)
    return replace(setting, sharing=sharing, server_placement=places.shared, gpu_share=SHARED_HALF)


def _way(config: RunConfig, setting: Setting, weights: SharedMemoryWeights) -> WeightTransfer:
    """How the learner's weights reach the servers: in files, or from GPU to GPU."""
    kind = setting.sharing.transfer
    if kind == "file":
        return weights
    from munro.rollout.vllm.sending import VllmTransfer

    return VllmTransfer(kind, num_workers=config.rollout.servers * config.rollout.tensor_parallel)


def _trainer(
    config: RunConfig, model: Path, transfer: WeightTransfer, places: Places, turns: Turns | None
) -> Trainer:
    placement = places.shared or places.all
    whole = 1 if ray.cluster_resources().get("GPU") else 0
    pool = LearnerPool(
        model,
        resolved(config.learner, num_steps=config.num_steps),
        deadlines=config.deadlines,
        seed=config.seed,
        temperature=config.rollout.temperature,
        entropy_estimator=config.clip.entropy_estimator,
        transfer=transfer,
        num_gpus=whole * (SHARED_HALF if turns else 1),
        options={"scheduling_strategy": placement} if placement else None,
    )
    return Trainer(pool, turns=turns)


def _setting(config: RunConfig, model: Path, folder: Path) -> Setting:
    most = getattr(model_config(model).get_text_config(), "max_position_embeddings", 0)
    wanted = config.rollout.max_context
    if wanted and most and wanted > most:
        raise BadConfig(
            f"rollout.max_context = {wanted}, but {model} was made for {most} tokens. Lower it."
        )
    run = folder.resolve()
    return Setting(
        model=str(Path(model).resolve()),
        rollout=config.rollout,
        rewards=anywhere(config.rewards),
        judges=config.judge,
        envs=tuple(resolve_config(env) for env in config.env),
        held_out=tuple(resolve_config(env) for env in config.eval.env),
        seed=config.seed,
        max_context=wanted or most,
        weights=str(_weights_folder(config, run)),
        run=str(run),
    )


def _weights_folder(config: RunConfig, run: Path) -> Path:
    name = f"{run.name}-{os.getpid()}"
    if config.sync.weights_folder:
        return Path(config.sync.weights_folder).expanduser().resolve() / name
    sweep(run.name)
    return place(name, otherwise=run)
