"""The service of this process: what graders by name work through, wherever it grades."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any

from munro.rewards.kinds import Grader, Item, Options, check_options, find, is_joint
from munro.rewards.service.service import GradingService, Service
from munro.rewards.types import Grade


class _Served(Grader):
    """A grader that hands its items to a service."""

    def __init__(self, kind: str, options: Options) -> None:
        self._kind, self._options = kind, options

    def grade(self, item: Item) -> Grade:
        """As the grader itself, in its turn."""
        return current().grade(self._kind, item, options=self._options, group=_group_of(item))


class _ServedJointly(_Served):
    """The same for a kind that compares items."""

    def grade_group(self, items: Sequence[Item]) -> list[Grade]:
        """As the grader itself, in its turn."""
        group = _group_of(items[0]) if items else ""
        return current().grade_group(self._kind, items, options=self._options, group=group)


def grader(kind: str, /, **options: Any) -> Grader:
    """A grader of that kind that works through the service of this process.

    As `munro.rewards.kinds.make`. The queue is fair to tasks, by the `task_id` of items.

    Raises:
        ValueError: no such kind or option, or its kind refuses an option's value.
    """
    check_options(kind, options)
    find(kind).refuse(options)
    return (_ServedJointly if is_joint(kind) else _Served)(kind, options)


def grade(kind: str, item: Item, *, group: str = "", **options: Any) -> Grade:
    """The grade of one item, through the service of this process.

    Raises:
        EpisodeError: there is none; says why.
        ValueError: the item or the options cannot be used.

    Example:
        grade("math", {"response": "<answer>42</answer>", "answer": "42"}).passed    # True
    """
    return current().grade(kind, item, options=options, group=group)


def _group_of(item: Item) -> str:
    return str(item.get("task_id", ""))


_lock = threading.Lock()
_current: Service | None = None
_pid = 0


def use(service: Service) -> None:
    """Let `grade` and `grader` work through this service in this process; the one before ends."""
    global _current, _pid
    with _lock:
        before = _current if _pid == os.getpid() else None
        _current, _pid = service, os.getpid()
    if before is not None and before is not service:
        before.close()


def current() -> Service:
    """The service of this process; one with the usual sizes where nobody chose."""
    global _current, _pid
    with _lock:
        # a forked process has the parent's object, but neither its threads nor its children
        if _current is None or _pid != os.getpid():
            _current, _pid = GradingService(), os.getpid()
        return _current


def close() -> None:
    """End the service of this process; a later grading starts a new one."""
    global _current
    with _lock:
        before, _current = _current, None
    if before is not None and _pid == os.getpid():
        before.close()
