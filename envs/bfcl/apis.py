"""What runs in a child process: the package's own mock interfaces, called as a policy called them.

They are eight Python classes that keep their state in themselves: a file system, a message board, a
bank of orders and so on. Nothing of a call is ever evaluated: a name out of the list that the task
shows, and arguments out of JSON. A scene is played from its start each time, so that a state is
nothing but the calls that led to it: it survives a child that had to be killed, and a restart.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from decimal import localcontext
from typing import Any

ROOM = "bfcl_eval.eval_checker.multi_turn_eval.func_source_code"
MODULES = {
    "GorillaFileSystem": "gorilla_file_system",
    "MathAPI": "math_api",
    "MessageAPI": "message_api",
    "TwitterAPI": "posting_api",
    "TicketAPI": "ticket_api",
    "TradingBot": "trading_bot",
    "TravelAPI": "travel_booking",
    "VehicleControlAPI": "vehicle_control",
}
"""The classes, and the files that they are in."""
LONGEST = 200_000
"""Letters of an answer that are kept."""

Turns = Sequence[Sequence[Sequence[Any]]]
"""By turns of the user, the calls that were made in each: (name, arguments)."""

_classes: dict[str, Any] = {}
_shared: list[tuple[Any, Any]] = []
"""Tables and lists of the modules themselves, each with what was in it before any call."""


def preload(home: str) -> None:
    """Import the classes before the child is sealed.

    Args:
        home: the folder that the package `bfcl_eval` lies in.
    """
    if home not in sys.path:
        sys.path.append(home)  # the last, so that it stands before nothing of ours
    found: dict[int, Any] = {}
    for name, file in {**MODULES, "": "long_context"}.items():
        module = importlib.import_module(f"{ROOM}.{file}")
        if name:
            _classes[name] = getattr(module, name)
        found |= {
            id(value): value
            for key, value in vars(module).items()
            if isinstance(value, dict | list) and not key.startswith("__")
        }
    _shared[:] = [(value, deepcopy(value)) for value in found.values()]


def answers(scene: Mapping[str, Any], turns: Turns, number: int) -> list[tuple[str, str]]:
    """What the last `number` calls of the last turn are answered.

    Args:
        scene: `classes`, their `config` by name, and whether it is `long`.
        turns: all calls so far.
        number: of those that are new.

    Returns:
        For each the text, and why it failed; empty where it did not.
    """
    *_, (heard, _) = _played(scene, turns)
    return heard[-number:] if number else []


def judged(scene: Mapping[str, Any], gold: Turns, turns: Turns) -> list[dict[str, Any]]:
    """An attempt beside the gold one, turn by turn.

    Returns:
        For each turn of the user that both have: `differ`, the classes whose state is another than
        gold's at its end, and `missing`, how many of gold's answers in it were never had up to its
        end (answers that are alike count one by one).
    """
    wanted = [(told, _states(instances)) for told, instances in _played(scene, gold)]
    had: Counter[str] = Counter()
    found = []
    for (heard, instances), (told, goal) in zip(_played(scene, turns), wanted, strict=False):
        had.update(text for text, _ in heard)
        lacking = Counter(text for text, _ in told) - had
        states = _states(instances)
        differ = [name for name in goal if states[name] != goal[name]]
        found.append({"differ": differ, "missing": lacking.total()})
    return found


def _played(
    scene: Mapping[str, Any], turns: Turns
) -> Iterator[tuple[list[tuple[str, str]], dict[str, Any]]]:
    """Every turn's answers, and an instance of every class as it is after it."""
    for live, fresh in _shared:  # what an earlier scene did to them is nobody else's
        if live != fresh:
            live.clear()
            (live.update if isinstance(live, dict) else live.extend)(deepcopy(fresh))
    instances = {name: _instance(name, scene) for name in scene["classes"]}
    methods = {
        name: getattr(instance, name)
        for instance in instances.values()
        for name in dir(type(instance))
        if not name.startswith("_") and callable(getattr(type(instance), name))
    }
    mpmath = importlib.import_module("mpmath")
    with localcontext(), mpmath.workdps(mpmath.mp.dps):  # calls of MathAPI set the precision
        for calls in turns:
            heard = [_answer(methods.get(name), name, arguments) for name, arguments in calls]
            yield heard, instances


def _states(instances: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain(instance, ()) for name, instance in instances.items()}


def _instance(name: str, scene: Mapping[str, Any]) -> Any:
    instance = _classes[name]()
    if hasattr(instance, "_load_scenario"):
        config = deepcopy(scene["config"].get(name, {}))
        instance._load_scenario(config, long_context=scene["long"])
    return instance


def _answer(method: Any, name: str, arguments: Mapping[str, Any]) -> tuple[str, str]:
    """What one call is answered, and why it failed."""
    try:
        if method is None:
            raise NameError(f"name {name!r} is not defined")
        result = method(**deepcopy(dict(arguments)))
    except MemoryError:
        raise
    except Exception as failure:  # noqa: BLE001 - by arguments that a policy wrote: it is told
        text = f"Error during execution: {failure}"[:LONGEST]
        return text, text
    error = result.get("error", "") if isinstance(result, dict) else ""
    return _text(result)[:LONGEST], str(error)[:LONGEST]


def _text(result: Any) -> str:
    if isinstance(result, str):
        return result
    if isinstance(result, dict):
        try:
            return json.dumps(result)
        except (TypeError, ValueError):  # numbers of mpmath, which no JSON holds
            return str(result)
    return str(result)


def _plain(value: Any, around: tuple[int, ...]) -> Any:
    """A state as data that can be compared: what is public, and of every object its class."""
    if id(value) in around:
        return "..."
    inside = (*around, id(value))
    if isinstance(value, dict):
        return {key: _plain(item, inside) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, inside) for item in value]
    if isinstance(value, set):
        return frozenset(value)
    if hasattr(value, "__dict__"):
        public = {name: item for name, item in vars(value).items() if not name.startswith("_")}
        return [type(value).__name__, _plain(public, inside)]
    return value
