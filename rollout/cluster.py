"""Servers and problem workers as Ray actors: placement, fan-out, and what a death turns into.

    Solvers (driver) ──► problem workers ──► Router ──► inference servers ◄── Servers (driver)

Ray restarts an actor whose process died. What was under way there fails: at this door it becomes a
`PolicyError` (a server: the router tries elsewhere) or is handed out again (a worker).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any
from uuid import uuid4

import numpy as np
import psutil
import ray
from numpy.typing import NDArray
from ray.exceptions import RayActorError, RayError, RayTaskError

from munro.envs.problem_set import ProblemSet
from munro.rewards import service
from munro.rewards.errors import PolicyError
from munro.rewards.service.cluster import RemoteService
from munro.rewards.service.meter import merged
from munro.rewards.service.setup import configure
from munro.rollout import waits
from munro.rollout.engine import Completion, Request, WeightSource
from munro.rollout.inference import InferenceServer, build_engine
from munro.rollout.problem import ProblemWorker
from munro.rollout.router import Patience, Router
from munro.rollout.setting import Setting
from munro.rollout.types import Abandoned, Attempt, Group
from munro.rollout.waits import Stalled, waiting

CALLS_AT_ONCE = 100_000
"""Calls that one actor has open; the engine's own batch size is what limits work."""
RETRY_S = 0.5
"""Between two looks at an actor that is being restarted."""


class _ServerActor:
    """An `InferenceServer` in a process of its own."""

    def __init__(self, name: str, setting: Setting) -> None:
        waits.publish(setting.run, name)
        self._server = InferenceServer(
            lambda: build_engine(
                setting.model,
                setting.rollout,
                seed=setting.seed,
                max_context=setting.max_context,
            ),
            setting.weights,
            catch_up=ray.get_runtime_context().was_current_actor_reconstructed,
        )

    async def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return await getattr(self._server, method)(*args, **kwargs)

    async def pid(self) -> int:
        return os.getpid()


class ServerHandle:
    """Makes a server's actor look like an `Engine`, from within an event loop.

    Raises:
        PolicyError: the server said so, or its process died or cannot be reached.
    """

    def __init__(self, name: str, actor: Any) -> None:
        self.name = name
        self._actor = actor

    async def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """See `Engine.generate`."""
        return list(await self._call("generate", list(requests)))

    async def score(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        """See `Engine.score`."""
        return np.asarray(await self._call("score", list(token_ids)))

    async def update_weights(self, source: WeightSource, *, drain: bool) -> None:
        """See `Engine.update_weights`."""
        await self._call("update_weights", source, drain=drain)

    async def version(self) -> int:
        """See `Engine.version`."""
        return int(await self._call("version"))

    async def close(self) -> None:
        """See `Engine.close`."""
        await self._call("close")

    async def _call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        reference = self._actor.call.remote(method, *args, **kwargs)
        try:
            return await reference
        except asyncio.CancelledError:
            ray.cancel(reference)
            raise
        except RayError as error:
            raise _as_ours(self.name, error) from error


class _WorkerActor:
    """A `ProblemWorker` in a process of its own, with its problem set and its router."""

    def __init__(self, name: str, setting: Setting, servers: Mapping[str, str]) -> None:
        waits.publish(setting.run, name)
        self._setting = setting
        self._handles = {
            server: ServerHandle(server, ray.get_actor(known)) for server, known in servers.items()
        }

    # not in `__init__`: Ray never starts an actor again whose constructor raised
    @cached_property
    def _router(self) -> Router:
        deadline_s = self._setting.rollout.generate_deadline_s
        return Router(self._handles, Patience(deadline_s=deadline_s, patience_s=deadline_s))

    @cached_property
    def _problems(self) -> ProblemSet:
        setting = self._setting
        configure(setting.rewards, setting.judges)
        if setting.graders:
            service.use(RemoteService(setting.graders, setting.rewards.service))
        return ProblemSet(setting.envs, setting.seed)

    @cached_property
    def _worker(self) -> ProblemWorker:
        from transformers import AutoTokenizer

        setting = self._setting
        return ProblemWorker(
            self._router,
            self._problems.environment,
            AutoTokenizer.from_pretrained(setting.model),
            setting.rollout,
            setting.rewards,
            seed=setting.seed,
            max_context=setting.max_context,
            servers=list(self._handles.values()),
        )

    async def load(self) -> list[str]:
        """Load everything; the environments' names."""
        _ = self._worker
        return list(self._problems.names)

    async def solve(self, index: int, cap: int, version: int) -> Group | Abandoned:
        self._router.expect(version)
        return await self._worker.solve(index, self._problems.task(index), cap)

    async def solve_all(
        self, items: Sequence[tuple[int, int]], version: int
    ) -> list[Group | Abandoned]:
        wave = [(index, self._problems.task(index), cap) for index, cap in items]
        return await self._worker.solve_all(wave, version=version)

    async def evaluate(
        self, num_tasks: int, num_attempts: int, cap: int, version: int
    ) -> list[list[Attempt]]:
        tasks = self._problems.held_out(num_tasks)
        # indices below 0 keep the seeds apart from those of the training stream
        items = [(-1 - place, task, cap) for place, task in enumerate(tasks)]
        return await self._worker.evaluate(items, num_attempts, version=version)

    async def task_id(self, index: int) -> str:
        return self._problems.task(index).id

    async def metrics(self) -> dict[str, float]:
        return service.current().metrics()

    async def pid(self) -> int:
        return os.getpid()


class Servers:
    """All inference servers, called as one from the driver. Needs a running Ray."""

    def __init__(self, setting: Setting) -> None:
        self.version = 0
        """Of the weights that all of them serve."""
        num_gpus = setting.rollout.tensor_parallel if ray.cluster_resources().get("GPU") else 0
        # workers look servers up by name: a handle among an actor's arguments could not be had
        # again when the actor restarts
        several = uuid4().hex
        self.known_as = {
            name: f"{several}/{name}"
            for name in (f"server-{i}" for i in range(setting.rollout.servers))
        }
        self.actors: dict[str, Any] = {
            name: _start(_ServerActor, setting, name, num_gpus, setting, known_as=known)
            for name, known in self.known_as.items()
        }
        # engines come up while others do; who waits for them hears of failures
        for actor in self.actors.values():
            actor.call.remote("version")

    def wait_ready(self, deadline_s: float) -> None:
        """Wait until all of them serve.

        Raises:
            PolicyError: one says that it cannot serve; what it needs is said too.
            Stalled: one does not come up.
        """
        _everywhere("start", self.actors, _calling("version"), deadline_s, (RayActorError,))

    def update_weights(self, source: WeightSource, *, drain: bool, deadline_s: float) -> None:
        """Load the weights everywhere; a server that dies meanwhile is waited for.

        Raises:
            Stalled: one did not get there.
        """
        what = f"weights of version {source.version} to be loaded"
        _everywhere(what, self.actors, _calling("update_weights", source, drain=drain), deadline_s)
        self.version = source.version

    def score_each(
        self, streams: Sequence[Sequence[int]], deadline_s: float
    ) -> dict[str, list[NDArray[np.float32]]]:
        """Log-probability of each token of each stream, from every server by its name.

        Raises:
            Stalled: one did not answer.
        """
        each = [
            _everywhere("scores", self.actors, _calling("score", list(stream)), deadline_s)
            for stream in streams
        ]
        return {name: [scores[name] for scores in each] for name in self.actors}

    def pids(self) -> list[int]:
        """Processes of all servers and their children, where they answer at once."""
        return _pids(self.actors)

    def close(self, deadline_s: float = 30.0) -> None:
        """End all servers, and their engines' processes."""
        _end(self.actors, _calling("close"), deadline_s)


class Solvers:
    """All problem workers, called as one. Implements `munro.rl.ports.Solvers`.

    Tasks are dealt out to the worker with the fewest; one that dies is given its tasks again.
    Waves and evaluations, which must repeat bit by bit, go to the first worker whole.
    """

    def __init__(self, setting: Setting, servers: Servers) -> None:
        self._servers = servers
        self.actors: dict[str, Any] = {
            name: _start(_WorkerActor, setting, name, 0, setting, servers.known_as)
            for name in (f"worker-{i}" for i in range(setting.rollout.workers))
        }
        self._running: dict[Any, tuple[str, int, int]] = {}
        for actor in self.actors.values():
            actor.load.remote()

    def wait_ready(self, deadline_s: float) -> None:
        """Wait until all have loaded their environments.

        Raises:
            Stalled: one does not come up.
            BadEnvironment: an environment cannot be loaded.
        """
        _everywhere("start", self.actors, lambda actor: actor.load.remote(), deadline_s)

    def submit(self, index: int, max_response_tokens: int) -> None:
        """Hand out a task; its outcome will come from `collect`."""
        busy = [name for name, _, _ in self._running.values()]
        name = min(self.actors, key=busy.count)
        self._hand_out(name, index, max_response_tokens)

    def _hand_out(self, name: str, index: int, cap: int) -> None:
        reference = self.actors[name].solve.remote(index, cap, self._servers.version)
        self._running[reference] = (name, index, cap)

    def collect(self, timeout_s: float) -> list[Group | Abandoned]:
        """What has come back, waiting at most `timeout_s` for the first of it."""
        if not self._running:
            time.sleep(timeout_s)
            return []
        done, _ = ray.wait(list(self._running), num_returns=1, timeout=timeout_s)
        more, _ = ray.wait(list(self._running), num_returns=len(self._running), timeout=0)
        outcomes = []
        for reference in dict.fromkeys([*done, *more]):
            name, index, cap = self._running.pop(reference)
            try:
                outcomes.append(ray.get(reference))
            except RayActorError:
                self._hand_out(name, index, cap)
            except RayTaskError as error:
                raise _cause(error) from error
        return outcomes

    def solve_all(
        self, tasks: Sequence[tuple[int, int]], deadline_s: float
    ) -> list[Group | Abandoned]:
        """Solve (index, max_response_tokens) pairs in lockstep: repeatable bit by bit.

        Raises:
            Stalled: the wave is not done in time.
        """
        what, given = f"a wave of {len(tasks)} groups", (list(tasks), self._servers.version)
        return list(self._first(what, lambda actor: actor.solve_all.remote(*given), deadline_s))

    def evaluate(
        self, num_tasks: int, num_attempts: int, max_response_tokens: int, deadline_s: float
    ) -> list[list[Attempt]]:
        """`num_attempts` graded attempts at each of at most `num_tasks` held-out tasks.

        Raises:
            Stalled: not done in time.
        """
        given = (num_tasks, num_attempts, max_response_tokens, self._servers.version)
        what = f"an evaluation on {num_tasks} tasks"
        return list(self._first(what, lambda actor: actor.evaluate.remote(*given), deadline_s))

    def task_id(self, index: int, deadline_s: float = 60.0) -> str:
        """`Task.id` of task number `index` of the stream."""
        what = f"the name of task {index}"
        return str(self._first(what, lambda actor: actor.task_id.remote(index), deadline_s))

    def metrics(self) -> dict[str, float]:
        """What the grading services of the workers did since the last call, where they answer."""
        return merged(_at_once([actor.metrics.remote() for actor in self.actors.values()]))

    def pids(self) -> list[int]:
        """Processes of all workers and their children, where they answer at once."""
        return _pids(self.actors)

    def close(self) -> None:
        """End all workers."""
        self._running.clear()
        _end(self.actors, None, 0)

    def _first(self, what: str, call: Callable[[Any], Any], deadline_s: float) -> Any:
        name, actor = next(iter(self.actors.items()))
        return _everywhere(what, {name: actor}, call, deadline_s)[name]


def _start(
    kind: type, setting: Setting, name: str, num_gpus: float, *args: Any, known_as: str = ""
) -> Any:
    """An actor that Ray starts again for ever."""
    options: dict[str, Any] = {
        "num_cpus": 0,
        "num_gpus": num_gpus,
        "max_restarts": -1,
        "max_task_retries": 0,
        "max_concurrency": CALLS_AT_ONCE,
        "scheduling_strategy": setting.placement,
    }
    if known_as:
        options["name"] = known_as
    if setting.environment:
        options["runtime_env"] = {"env_vars": dict(setting.environment)}
    return ray.remote(kind).options(**options).remote(name, *args)


def _calling(method: str, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
    return lambda actor: actor.call.remote(method, *args, **kwargs)


def _everywhere(
    what: str,
    actors: Mapping[str, Any],
    call: Callable[[Any], Any],
    deadline_s: float,
    again_after: tuple[type[Exception], ...] = (RayActorError, PolicyError),
) -> dict[str, Any]:
    """Call all actors and wait for all; who dies or cannot serve is asked again.

    Raises:
        Stalled: one did not answer in time; names it and its last failure.
        Exception: what an actor raised, as it was raised there.
    """
    end = time.monotonic() + deadline_s
    references = {name: call(actor) for name, actor in actors.items()}
    answers: dict[str, Any] = {}
    for name in actors:
        last_failure = ""
        try:
            with waiting(f"{what} ({name})", max(end - time.monotonic(), 0)) as wait:
                while name not in answers:
                    try:
                        answers[name] = ray.get(references[name], timeout=wait.remaining)
                    except again_after as error:
                        last_failure = f": {_first_line(error)}"
                        if not wait.remaining:
                            raise TimeoutError from error
                        time.sleep(min(RETRY_S, wait.remaining))
                        references[name] = call(actors[name])
        except Stalled as stalled:
            raise Stalled(stalled.who, stalled.what + last_failure, deadline_s) from stalled
        except RayTaskError as error:
            raise _cause(error) from error
    return answers


def _as_ours(name: str, error: RayError) -> Exception:
    """What Ray raised, as what a caller of an `Engine` expects."""
    if isinstance(error, RayTaskError):
        return _cause(error)
    return PolicyError(f"{name}: {_first_line(error)}")


def _cause(error: RayTaskError) -> Exception:
    """What the actor's own code raised."""
    return error.cause if isinstance(error.cause, Exception) else error


def _first_line(error: Exception) -> str:
    cause = _cause(error) if isinstance(error, RayTaskError) else error
    lines = str(cause).strip().splitlines()
    return lines[0] if lines else type(cause).__name__


def _pids(actors: Mapping[str, Any]) -> list[int]:
    found = []
    for pid in _at_once([actor.pid.remote() for actor in actors.values()]):
        with suppress(psutil.Error):  # it lives on another host
            found += [pid, *(c.pid for c in psutil.Process(pid).children(recursive=True))]
    return found


def _at_once(references: list[Any]) -> list[Any]:
    """Answers of the actors that are neither busy nor being restarted."""
    found = []
    for reference in ray.wait(references, num_returns=len(references), timeout=2)[0]:
        with suppress(RayActorError):
            found.append(ray.get(reference))
    return found


def _end(actors: Mapping[str, Any], last: Callable[[Any], Any] | None, deadline_s: float) -> None:
    """Let the actors say `last`, then end them for good."""
    if last is not None:
        references = [last(actor) for actor in actors.values()]
        ray.wait(references, num_returns=len(references), timeout=deadline_s)
    for actor in actors.values():
        ray.kill(actor, no_restart=True)
