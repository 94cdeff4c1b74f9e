"""All processes of one climb, started and ended together. Ray's door in this room.

driver (this process) ──► Solvers (problem workers) ──► Servers (inference)
                     └──► Trainer (learner ranks) ── weights in shared memory ──► Servers
"""

from __future__ import annotations

import os
import signal
import tempfile
import threading
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
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import (
    NodeAffinitySchedulingStrategy,
    PlacementGroupSchedulingStrategy,
)
from transformers import AutoConfig

from munro.envs.loader import resolve_config
from munro.machine.climb.adapters import served_model, told, transfer, with_whole_judges
from munro.machine.climb.needs import Place, marked, not_shared, shortage, unseen
from munro.machine.config import EvalConfig, RunConfig
from munro.machine.loading import BadConfig
from munro.rewards.service.cluster import Graders
from munro.rewards.service.meter import merged
from munro.rewards.service.setup import anywhere
from munro.rewards.serving.architectures import register_architectures
from munro.rl.batch import Batch, StepReport
from munro.rl.clip import Clip
from munro.rl.cluster import LearnerPool
from munro.rl.plugs import resolved
from munro.rollout import waits
from munro.rollout.cluster import Servers, Solvers
from munro.rollout.engine import WeightSource
from munro.rollout.setting import Setting
from munro.rollout.types import Abandoned, Attempt, Group
from munro.rollout.weights import SharedMemoryWeights, place, sweep

LONGEST_SOCKET = 107
"""Bytes of a Unix socket's name."""
RAY_SOCKET = len("/ray/session_2026-01-31_23-59-59_999999_4194304/sockets/plasma_store.1234567")
"""What Ray appends to its folder, at most."""


class LearnerLost(Exception):
    """A learner process died: the climb goes back to its last checkpoint."""

    is_sentence = True


class Trainer:
    """The learner's ranks with their way to publish; a death is a `LearnerLost`."""

    def __init__(self, pool: LearnerPool, weights: SharedMemoryWeights) -> None:
        self._pool, self._weights = pool, weights

    def step(self, batch: Batch, *, clip: Clip) -> StepReport:
        """One optimizer step."""
        with _lost("an optimizer step"):
            return self._pool.step(batch, clip=clip)

    def publish(self, version: int) -> WeightSource:
        """Write the current weights where servers can read them."""
        with _lost("publishing its weights"):
            return self._pool.publish(self._weights, version)

    def score(
        self, streams: Sequence[Sequence[int]], *, base: bool = False
    ) -> list[NDArray[np.float32]]:
        """Log-probability of each token given those before it."""
        with _lost("scoring"):
            return self._pool.score(streams, base=base)

    def save(self, folder: str, provenance: Mapping[str, object]) -> None:
        """Write a checkpoint."""
        with _lost("writing a checkpoint"):
            self._pool.save(str(Path(folder).absolute()), provenance)

    def load(self, folder: Path) -> None:
        """Take optimizer and random states from a checkpoint."""
        with _lost("loading a checkpoint"):
            self._pool.load(Path(folder).absolute())

    def close(self) -> None:
        """End the learner's processes."""
        self._pool.close()


class Workers:
    """Problem workers, as the loop and the evaluations call them."""

    def __init__(self, solvers: Solvers, deadline_s: float, graders: Graders | None) -> None:
        self._solvers, self._deadline_s, self._graders = solvers, deadline_s, graders

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
        return self._solvers.solve_all(tasks, deadline_s)

    def task_id(self, index: int) -> str:
        """Id of a task of the stream."""
        return self._solvers.task_id(index)

    def metrics(self) -> dict[str, float]:
        """What was graded since the last call, by kind, wherever it was."""
        elsewhere = [self._graders.metrics()] if self._graders is not None else []
        return merged([self._solvers.metrics(), *elsewhere])

    def evaluate(self, config: EvalConfig, max_response_tokens: int) -> list[list[Attempt]]:
        """Held-out attempts."""
        return self._solvers.evaluate(
            config.num_tasks, config.runs, max_response_tokens, self._deadline_s
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Handles of everything that runs."""

    servers: Servers
    solvers: Workers
    learner: Trainer | None
    vocabulary: int
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
    with _ray(config), _published(folder), _reserved(config, learner=learner) as placement:
        _require_shared(config, setting)
        setting = replace(setting, placement=placement or setting.placement)
        running: list[Any] = []
        try:
            servers = Servers(setting, least=config.sync.min_servers)
            running.append(servers)
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
                    start = trained if adapters else model
                    trainer = _trainer(config, start, weights, placement)
                running.append(trainer)
            solvers.wait_ready(config.deadlines.start_s)
            servers.wait_ready(config.deadlines.start_s)
            yield Fleet(
                servers=servers,
                solvers=Workers(solvers, config.deadlines.groups_s, graders),
                learner=trainer,
                vocabulary=int(_model_config(model).get_text_config().vocab_size),
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


@contextmanager
def _ray(config: RunConfig) -> Iterator[None]:
    """A Ray node of our own on this machine, or the cluster that the config names.

    Raises:
        BadConfig: this process, a notebook's say, has a Ray of its own.
    """
    if ray.is_initialized():
        raise BadConfig(
            "Ray runs in this process already: end it with ray.shutdown(), for a climb starts and "
            "ends its own (set ray.address for a cluster that is up)."
        )
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    common = {"log_to_driver": False, "include_dashboard": False, "logging_level": "ERROR"}
    with _hearing_signals_first():
        if config.ray.address:
            del common["include_dashboard"]
            try:
                ray.init(address=config.ray.address, **common)
            except ConnectionError as error:
                raise BadConfig(
                    f'ray.address = "{config.ray.address}": no Ray cluster answers there ({error})'
                ) from error
        else:
            ray.init(num_cpus=config.ray.cpus or None, **common, **_short_folder())
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _reserved(
    config: RunConfig, *, learner: bool
) -> Iterator[PlacementGroupSchedulingStrategy | None]:
    """One placement group for all processes, where the config asks for it; freed at the end.

    Raises:
        BadConfig: the cluster has not got that much, or not within `deadlines.start_s`.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if lacking := shortage(config, nodes, learner=learner):
        raise BadConfig(lacking)
    if not config.ray.reserve:
        yield None
        return
    gpu = 1 if ray.cluster_resources().get("GPU") else 0
    server = {"CPU": 1, "GPU": gpu * config.rollout.tensor_parallel}
    bundles = [server] * config.rollout.servers + [{"CPU": 1, "GPU": 0}] * config.rollout.workers
    bundles += [{"CPU": 1, "GPU": gpu}] * (config.learner.ranks if learner else 0)
    wanted = {kind: sum(bundle[kind] for bundle in bundles) for kind in ("CPU", "GPU")}
    group = placement_group([{k: n for k, n in bundle.items() if n} for bundle in bundles])
    try:
        if not group.wait(config.deadlines.start_s):
            has = {kind: int(ray.cluster_resources().get(kind, 0)) for kind in wanted}
            raise BadConfig(
                f"the cluster could not set aside {wanted['CPU']} CPUs and {wanted['GPU']} GPUs "
                f"within {config.deadlines.start_s:g} s (it has {has['CPU']} and {has['GPU']} in "
                "all, others may hold them): raise deadlines.start_s, ask for fewer servers, "
                "workers or ranks, or set ray.reserve = false."
            )
        yield PlacementGroupSchedulingStrategy(group)
    finally:
        remove_placement_group(group)


def _require_shared(config: RunConfig, setting: Setting) -> None:
    """Every node of a cluster sees what its processes will read.

    Raises:
        BadConfig: one does not; names the node, the path and the key.
    """
    if not config.ray.address:
        return
    folders = {
        "the run's folder": (Path(setting.run), "folder"),
        "the folder of new weights": (Path(setting.weights), "sync.weights_folder"),
    }
    ask, deadline_s = ray.remote(num_cpus=0)(unseen), config.deadlines.start_s
    with marked(folders) as places:
        config_file = str(Path(setting.model) / "config.json")
        places.append(Place(path=config_file, what="the model", mend="model.path"))
        asked = {
            node["NodeManagerHostname"]: ask.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote(places)
            for node in ray.nodes()
            if node["Alive"]
        }
        for host, answer in asked.items():
            with waits.waiting(f"the node {host} to look for its paths", deadline_s) as wait:
                for place in ray.get(answer, timeout=wait.remaining)[:1]:
                    raise BadConfig(not_shared(host, place))


@contextmanager
def _hearing_signals_first() -> Iterator[None]:
    """Ray puts handlers of its own in the place of ours, which print a stack of C++ and end us."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _short_folder() -> dict[str, str]:
    """Where Ray keeps its sockets, if the folder that it would take is too long for them."""
    usual = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    if len(os.fsencode(usual)) + RAY_SOCKET <= LONGEST_SOCKET:
        return {}
    short = Path("/tmp") / f"munro-ray-{os.getuid()}"
    try:
        short.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise BadConfig(
            f"{usual} is too long a name for the folder of Ray's sockets (a socket's has at most "
            f"{LONGEST_SOCKET} bytes), and {short} cannot be made ({error.strerror}): set "
            "RAY_TMPDIR to a shorter one."
        ) from error
    # vLLM's sockets would lie in the same place
    os.environ.setdefault("VLLM_RPC_BASE_PATH", str(short))
    return {"_temp_dir": str(short)}


def _trainer(
    config: RunConfig, model: Path, weights: SharedMemoryWeights, placement: Any
) -> Trainer:
    pool = LearnerPool(
        model,
        resolved(config.learner),
        deadlines=config.deadlines,
        seed=config.seed,
        temperature=config.rollout.temperature,
        entropy_estimator=config.clip.entropy_estimator,
        num_gpus=1 if ray.cluster_resources().get("GPU") else 0,
        options={"scheduling_strategy": placement} if placement else None,
    )
    return Trainer(pool, weights)


def _model_config(model: Path) -> Any:
    register_architectures()
    try:
        return AutoConfig.from_pretrained(model)
    except (OSError, ValueError) as error:
        what = str(error).splitlines()[0]
        raise BadConfig(f"{model} is no model that transformers can load: {what}") from error


def _setting(config: RunConfig, model: Path, folder: Path) -> Setting:
    most = getattr(_model_config(model).get_text_config(), "max_position_embeddings", 0)
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
