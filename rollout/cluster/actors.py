"""Actors: how they start, are called all at once and end, and what a death turns into."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any

import psutil
import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError

from munro.rewards.errors import PolicyError
from munro.rollout.setting import Setting
from munro.rollout.waits import Stalled, waiting

CALLS_AT_ONCE = 100_000
"""Calls that one actor has open; the engine's own batch size is what limits work."""
RETRY_S = 0.5
"""Between two looks at an actor that is being restarted."""
LOOK_S = 1.0
"""How often a wait looks at what else may end it."""
AGAIN_AFTER: tuple[type[Exception], ...] = (RayActorError, PolicyError)
"""Failures after which an actor is called again: it died, or cannot serve yet."""
GRACE_S = 1.0
"""The least that an actor which was late the last time is waited for when the others are done."""


def start(
    kind: type,
    setting: Setting,
    name: str,
    num_gpus: float,
    *args: Any,
    known_as: str = "",
    num_cpus: float = 0,
) -> Any:
    """An actor that Ray starts again for ever; of a lasting setting, the one that is there."""
    options: dict[str, Any] = {
        "num_cpus": num_cpus,
        "num_gpus": num_gpus,
        "max_restarts": -1,
        "max_task_retries": 0,
        "max_concurrency": CALLS_AT_ONCE,
        "scheduling_strategy": setting.placement,
    }
    if known_as:
        options["name"] = known_as
    if setting.lasting:
        options |= {"lifetime": "detached", "get_if_exists": True}
    if setting.environment:
        options["runtime_env"] = {"env_vars": dict(setting.environment)}
    return ray.remote(kind).options(**options).remote(name, *args)


def loaded() -> None:
    """Tell the garbage collector that what this process holds by now stays.

    Ray has processes collect every few seconds, and one that has imported torch would walk through
    half a million objects each time: for a hundred workers a fifth of two cores.
    """
    gc.collect()
    gc.freeze()


def calling(method: str, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
    """What calls that method of a server's actor, for `everywhere`."""
    return lambda actor: actor.call.remote(method, *args, **kwargs)


def everywhere(
    what: str,
    actors: Mapping[str, Any],
    call: Callable[[Any], Any],
    deadline_s: float,
    again_after: tuple[type[Exception], ...] = AGAIN_AFTER,
    called: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Call all actors and wait for all; who dies or cannot serve is asked again.

    Args:
        what: is waited for, for a person.
        actors: by name.
        call: calls one.
        deadline_s: longest wait for all of them.
        again_after: failures after which an actor is called again.
        called: what `call` returned for those that have been called already, by name.

    Raises:
        Stalled: one did not answer in time; names it and its last failure.
        Exception: what an actor raised, as it was raised there.
    """
    until = time.monotonic() + deadline_s
    references = {**(called or {})}
    references |= {name: call(actor) for name, actor in actors.items() if name not in references}
    return {
        name: _answer(f"{what} ({name})", references[name], actor, call, until, again_after)
        for name, actor in actors.items()
    }


def mostly(
    what: str,
    actors: Mapping[str, Any],
    call: Callable[[Any], Any],
    deadline_s: float,
    *,
    least: int,
    slow: Collection[str] = (),
    waits_for_dead: bool = True,
    meanwhile: Callable[[], None] = lambda: None,
) -> tuple[dict[str, Any], dict[str, str]]:
    """As `everywhere`, but `least` answers in time are enough.

    Args:
        what: is waited for, for a person.
        actors: by name.
        call: calls one.
        deadline_s: longest wait.
        least: answers, without which the wait has failed.
        slow: actors that were late the last time: once the others have answered, these have as long
            again, so that they cost no more than a step of theirs.
        waits_for_dead: whether those whose process dies meanwhile are waited for too; otherwise
            they are only where fewer than `least` have answered.
        meanwhile: called now and then while this waits, and after a failure; what it raises ends
            the wait.

    Returns:
        The answers, and what those who gave none in time were last waited for; both by name.

    Raises:
        Stalled: fewer answered.
        Exception: what an actor raised, as it was raised there.
    """
    began = time.monotonic()
    references = {name: call(actor) for name, actor in actors.items()}
    answers: dict[str, Any] = {}
    late: dict[str, Exception] = {}
    until = began + deadline_s

    def ask(name: str, until: float, again_after: tuple[type[Exception], ...]) -> None:
        whom, reference = f"{what} ({name})", references[name]
        try:
            answers[name] = _answer(
                whom, reference, actors[name], call, until, again_after, meanwhile
            )
            late.pop(name, None)
        except (Stalled, RayActorError) as failure:
            late[name] = failure

    again_after = AGAIN_AFTER if waits_for_dead else (PolicyError,)
    for name in sorted(actors, key=lambda name: name in slow):
        now, is_spared = time.monotonic(), name in slow and len(answers) >= least
        most = min(until, now + max(GRACE_S, now - began)) if is_spared else until
        ask(name, most, again_after)
    for name in [name for name, failure in late.items() if isinstance(failure, RayActorError)]:
        if len(answers) < least:
            ask(name, until, AGAIN_AFTER)
    if len(answers) < least:
        raise next(iter(late.values()), Stalled("driver", what, deadline_s))
    return answers, {name: first_line(failure) for name, failure in late.items()}


def _answer(
    what: str,
    reference: Any,
    actor: Any,
    call: Callable[[Any], Any],
    until: float,
    again_after: tuple[type[Exception], ...] = AGAIN_AFTER,
    meanwhile: Callable[[], None] = lambda: None,
) -> Any:
    """What the actor answers before `until`; it is called again after those failures."""
    last_failure, given_s = "", max(until - time.monotonic(), 0)
    try:
        with waiting(what, given_s) as wait:
            while True:
                try:
                    return ray.get(reference, timeout=min(wait.remaining, LOOK_S))
                except GetTimeoutError:
                    if not wait.remaining:
                        raise
                    meanwhile()
                except again_after as error:
                    last_failure = f": {first_line(error)}"
                    meanwhile()
                    if not wait.remaining:
                        raise TimeoutError from error
                    time.sleep(min(RETRY_S, wait.remaining))
                    reference = call(actor)
    except Stalled as stalled:
        raise Stalled(stalled.who, stalled.what + last_failure, given_s) from stalled
    except RayTaskError as error:
        raise cause_of(error) from error


def as_ours(name: str, error: RayError) -> Exception:
    """What Ray raised, as what a caller of an `Engine` expects."""
    if isinstance(error, RayTaskError):
        return cause_of(error)
    return PolicyError(f"{name}: {first_line(error)}")


def cause_of(error: RayTaskError) -> Exception:
    """What the actor's own code raised."""
    return error.cause if isinstance(error.cause, Exception) else error


def first_line(error: Exception) -> str:
    cause = cause_of(error) if isinstance(error, RayTaskError) else error
    lines = str(cause).strip().splitlines()
    return lines[0] if lines else type(cause).__name__


def pids_of(actors: Mapping[str, Any]) -> list[int]:
    """Processes of the actors and their children, where they answer at once."""
    found = []
    for pid in at_once([actor.pid.remote() for actor in actors.values()]):
        with suppress(psutil.Error):  # it lives on another host
            found += [pid, *(c.pid for c in psutil.Process(pid).children(recursive=True))]
    return found


def at_once(references: list[Any]) -> list[Any]:
    """Answers of the actors that are neither busy nor being restarted."""
    found = []
    for reference in ray.wait(references, num_returns=len(references), timeout=2)[0]:
        with suppress(RayActorError):
            found.append(ray.get(reference))
    return found


def restart(actors: Mapping[str, Any]) -> None:
    """End the actors' processes; Ray starts each again under its name, wherever there is room."""
    for actor in actors.values():
        ray.kill(actor, no_restart=False)


def end(actors: Mapping[str, Any], last: Callable[[Any], Any] | None, deadline_s: float) -> None:
    """Let the actors say `last`, then end them for good."""
    if last is not None:
        references = [last(actor) for actor in actors.values()]
        ray.wait(references, num_returns=len(references), timeout=deadline_s)
    for actor in actors.values():
        ray.kill(actor, no_restart=True)
