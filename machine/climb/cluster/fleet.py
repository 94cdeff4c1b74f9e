"""All processes of one climb, started and ended together.

driver (this process) ──► Solvers (problem workers) ──► Servers (inference)
                     └──► Trainer (learner ranks) ── weights in shared memory ──► Servers
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import psutil
import ray

from munro.envs.loader import resolve_config
from munro.envs.types import Task
from munro.machine.climb.adapters import served_model, told, transfer, with_whole_judges
from munro.machine.climb.cluster.elsewhere import Elsewhere
from munro.machine.climb.cluster.learning import Trainer, Turns, lost
from munro.machine.climb.cluster.lease import kept, name_of, shared_name
from munro.machine.climb.cluster.node import ray_node, require_seen
from munro.machine.climb.cluster.places import Places, reserved
from munro.machine.climb.memory import resident_bytes
from munro.machine.climb.needs import transport_of
from munro.machine.climb.sizes import model_config
from munro.machine.config import EvalConfig, RunConfig
from munro.machine.loading import BadConfig
from munro.rewards.service.cluster import Graders
from munro.rewards.service.meter import merged
from munro.rewards.service.setup import anywhere
from munro.rl.batch import Weigher
from munro.rl.cluster import LearnerPool
from munro.rl.plugs import resolved
from munro.rl.ports import WeightTransfer
from munro.rollout import waits
from munro.rollout.cluster import Servers, Solvers, Stores
from munro.rollout.engine import Sharing
from munro.rollout.setting import Setting
from munro.rollout.types import Abandoned, Group, Outcome
from munro.rollout.weights import SharedMemoryWeights, place, sweep

SHARED_HALF = 0.5
"""Of a GPU, as Ray counts: what server and learner each take of one that they share."""


class Workers:
    """Problem workers, as the loop and the evaluations call them."""

    def __init__(
        self,
        solvers: Solvers,
        deadline_s: float,
        graders: Graders | None,
        turns: Turns | None = None,
        *,
        servers: Servers,
    ) -> None:
        self._solvers, self._deadline_s, self._graders = solvers, deadline_s, graders
        self._servers = servers
        self._turns = turns

    @property
    def stores(self) -> Stores:
        """Where what they made lies."""
        return self._solvers.stores

    def assign(self, tasks: Sequence[tuple[int, int]]) -> None:
        """Hand out tasks."""
        self._solvers.assign(tasks)

    def next_outcomes(self, timeout_s: float) -> list[Outcome]:
        """What has come back."""
        return self._solvers.next_outcomes(timeout_s)

    def lost(self, groups: Sequence[Outcome]) -> list[Outcome]:
        """Those whose tokens are there no more."""
        return self._solvers.lost(groups)

    def forget(self, groups: Sequence[Outcome]) -> None:
        """Nobody will ask for their tokens any more."""
        self._solvers.forget(groups)

    def solve_all(self, tasks: Sequence[tuple[int, int]], deadline_s: float) -> list[Outcome]:
        """Solve a wave in lockstep."""
        if self._turns:
            self._turns.servers()
        return self._solvers.solve_all(tasks, deadline_s)

    def restart(self) -> None:
        """Start their processes anew; what they were at is handed out again."""
        self._solvers.restart()

    def task_id(self, index: int) -> str:
        """Id of a task of the stream."""
        return self._solvers.task_id(index)

    def metrics(self) -> dict[str, float]:
        """What was graded since the last call, by kind, wherever it was, and what servers lost."""
        elsewhere = [self._graders.metrics()] if self._graders is not None else []
        return merged([self._solvers.metrics(), *elsewhere]) | self._servers.metrics()

    def evaluate(self, config: EvalConfig, max_response_tokens: int) -> list[Outcome]:
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
    is_found: bool = False
    """Servers and workers were there already, left by a process of this climb that was killed."""
    elsewhere: Elsewhere | None = None
    """Nodes that do not see the run's folder, where there are any."""

    @property
    def trainer(self) -> Trainer:
        """The learner of a fleet that was started with one."""
        assert self.learner is not None
        return self.learner

    def dump_stacks(self, run: Path) -> None:
        """Write where every process stands into the run's folder."""
        waits.dump_stacks(run, self.pids())
        if self.elsewhere is not None:
            self.elsewhere.bring_stacks()

    @staticmethod
    def pids() -> list[int]:
        """This process and all its descendants, Ray's and the engines' among them."""
        return [os.getpid(), *(p.pid for p in psutil.Process().children(recursive=True))]


@contextmanager
def start_fleet(
    config: RunConfig, model: Path, folder: Path, *, learner: bool = True
) -> Iterator[Fleet]:
    """Start servers, workers and learner for `model`; end all of them whatever happens.

    On a cluster, what a killed process of the same climb left there is found and gone on with.

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
    with ExitStack() as stack:
        weights = stack.enter_context(closing(transfer(setting.weights, adapters)))
        stack.enter_context(ray_node(config))
        stack.enter_context(_published(folder))
        elsewhere = require_seen(config, setting)
        if elsewhere is not None:
            stack.enter_context(elsewhere.followed())
        setting = _shared(setting, config, learner=learner)
        again = False
        if config.ray.address and learner:
            setting = replace(setting, lasting=name_of(config, model, folder))
            orphan_s = config.deadlines.orphan_s
            again = stack.enter_context(kept(setting.lasting, folder, orphan_s))
        places = stack.enter_context(reserved(config, learner=learner, lasting=setting.lasting))
        setting = _placed(setting, places)
        start = trained if adapters else model
        way = _way(config, setting, weights)
        fleet = _started(
            stack, config, setting, partial(_pool, config, start, way, places), learner
        )
        yield replace(fleet, is_found=again, elsewhere=elsewhere)


def _started(
    stack: ExitStack,
    config: RunConfig,
    setting: Setting,
    pool: Callable[[float], LearnerPool],
    learner: bool,
) -> Fleet:
    """All processes up; `stack` ends them."""
    start_s = config.deadlines.start_s
    # a broadcast is for all, or it does not end
    all_of_them = setting.sharing.transfer == "nccl"
    servers = Servers(
        setting,
        least=0 if all_of_them else config.sync.min_servers,
        waits_for_dead=all_of_them or config.sync.max_staleness == 0,
        min_live_s=config.deadlines.min_live_s,
    )
    stack.callback(servers.close)
    turns = Turns(servers, config) if config.ray.colocate and learner else None
    if turns:
        # vLLM measures what is free as it starts: the learner comes once it has let go
        servers.wait_ready(start_s)
        turns.learner()
    graders = None
    if config.rewards.service.actors:
        graders = Graders(config.rewards, config.judge, lasting=setting.lasting)
        stack.callback(graders.close)
        graders.wait_ready(start_s)
        setting = replace(setting, graders=graders.known_as)
    solvers = Solvers(setting, servers)
    stack.callback(solvers.close)
    trainer = None
    if learner:
        with lost("loading its model"):
            ranks = pool(SHARED_HALF if turns else 1.0)
        trainer = Trainer(ranks, turns=turns, elsewhere=bool(config.ray.address))
        stack.callback(trainer.close)
        trainer.require_place(Path(setting.run) / "checkpoints")
    solvers.wait_ready(start_s)
    servers.wait_ready(start_s)
    return Fleet(
        servers=servers,
        solvers=Workers(solvers, config.deadlines.groups_s, graders, turns, servers=servers),
        learner=trainer,
        longest=setting.max_context - 1 if setting.max_context else None,
        vocabulary=int(model_config(Path(setting.model)).get_text_config().vocab_size),
        warnings=tuple(solvers.warnings),
    )


@contextmanager
def _published(folder: Path) -> Iterator[None]:
    stop = waits.publish(folder, "driver")
    try:
        yield
    finally:
        stop()


def _shared(setting: Setting, config: RunConfig, *, learner: bool) -> Setting:
    """The setting, once it is known whether there are GPUs to share."""
    if not learner:
        return setting
    on_gpu, together = bool(ray.cluster_resources().get("GPU")), config.ray.colocate
    sharing = Sharing(
        transfer=transport_of(config, on_gpu=on_gpu, nodes=_num_nodes()),
        relay=config.sync.relay,
        slices=config.sync.slices,
        most_whole=config.sync.max_whole,
        sleeps=together,
        learner_bytes=resident_bytes(config, Path(setting.model)) if together and on_gpu else 0,
    )
    return replace(setting, sharing=sharing, gpu_share=SHARED_HALF if together else 1.0)


def _placed(setting: Setting, places: Places) -> Setting:
    """The setting, once it is known where servers and workers run."""
    return replace(
        setting,
        placement=places.workers or setting.placement,
        server_placement=places.servers,
    )


def _num_nodes() -> int:
    return sum(node["Alive"] for node in ray.nodes())


def _way(config: RunConfig, setting: Setting, weights: SharedMemoryWeights) -> WeightTransfer:
    """How the learner's weights reach the servers."""
    kind = setting.sharing.transfer
    if kind == "file":
        return weights
    if kind == "group":
        from munro.rollout.transfer.sending import GroupWeights

        return GroupWeights(
            within_s=config.deadlines.sync_s, bucket_bytes=config.sync.bucket_mib << 20
        )
    from munro.rollout.vllm.sending import VllmTransfer

    return VllmTransfer(kind, num_workers=config.rollout.servers * config.rollout.tensor_parallel)


def _pool(
    config: RunConfig, model: Path, transfer: WeightTransfer, places: Places, share: float
) -> LearnerPool:
    """The learner's ranks, each with that share of a GPU where there are any."""
    return LearnerPool(
        model,
        resolved(config.learner, num_steps=config.num_steps),
        deadlines=config.deadlines,
        seed=config.seed,
        temperature=config.rollout.temperature,
        entropy_estimator=config.clip.entropy_estimator,
        transfer=transfer,
        num_gpus=share if ray.cluster_resources().get("GPU") else 0,
        places=places.ranks,
    )


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
        weigh=Weigher(resolved(config.learner)),
    )


def _weights_folder(config: RunConfig, run: Path) -> Path:
    name = shared_name(run) if config.ray.address else f"{run.name}-{os.getpid()}"
    if config.sync.weights_folder:
        return Path(config.sync.weights_folder).expanduser().resolve() / name
    sweep(run.name)
    return place(name, otherwise=run)
