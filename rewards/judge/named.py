"""Judges by name, one of each for the whole process: what `[judge.NAME]` of a recipe means."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping

from munro.rewards.judge.config import JudgeConfig
from munro.rewards.judge.judge import Judge

_named_lock = threading.Lock()
_configs: dict[str, JudgeConfig] = {}
_judges: dict[str, Judge] = {}
_judges_pid = 0


def configure(judges: Mapping[str, JudgeConfig]) -> None:
    """Say which judges `named` knows in this process: before its first use, or anew."""
    close()
    with _named_lock:
        _configs.clear()
        _configs.update(judges)


def named(name: str) -> Judge:
    """The judge of that name, one for the whole process.

    Raises:
        ValueError: no such judge was configured, or its key or checkpoint is missing.
    """
    global _judges_pid
    with _named_lock:
        if name not in _configs:
            known = f"There are: {', '.join(_configs)}." if _configs else "There is none."
            raise ValueError(
                f"no judge {name!r} is configured. {known} Add [judge.{name}] to the recipe, or "
                "give the grader a judge of its own (args.judge.model and args.judge.base_url in "
                "TOML, --judge.model NAME --judge.base_url URL in the shell)."
            )
        if _judges_pid != os.getpid():
            _judges.clear()
            _judges_pid = os.getpid()
        if name not in _judges:
            _judges[name] = Judge(_configs[name], name=name)
        return _judges[name]


def close() -> None:
    """End the judges that `named` made; a later call makes new ones."""
    with _named_lock:
        judges = list(_judges.values()) if _judges_pid == os.getpid() else []
        _judges.clear()
    for judge in judges:
        judge.close()
