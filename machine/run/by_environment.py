"""Which metrics are one environment's own, told from their names alone.

    pass_rate/trained/NAME    of training, beside pass_rate/trained
    eval/NAME/pass_rate       held out, beside eval/pass_rate

A name may have slashes of its own. What is only called like an environment (the part "math" of a
reward, `reward/math`) is none of its figures: those stand beside one of the same name without it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

COUNTED = ("groups/trained/", "groups/accepted/")
"""What every environment that was trained on has, and nothing else is called like."""
HELD_OUT = re.compile(r"eval/(.+)/pass_rate")


def environments(names: Iterable[str]) -> list[str]:
    """Environments with figures of their own among these names of metrics.

    Example:
        environments(["groups/trained", "groups/trained/math"])  # ["math"]
    """
    found = set()
    for name in names:
        found |= {name.removeprefix(mark) for mark in COUNTED if name.startswith(mark)}
        if match := HELD_OUT.fullmatch(name):
            found.add(match[1])
    return sorted(found)


def is_of_one(name: str, names: Collection[str], envs: Iterable[str]) -> bool:
    """Whether a metric is one environment's, and not the whole's.

    Args:
        name: of the metric.
        names: of all metrics; a set where there are many.
        envs: what `environments` found in them.
    """
    return any(
        (name.endswith(f"/{env}") and name.removesuffix(f"/{env}") in names)
        or (
            name.startswith(f"eval/{env}/") and f"eval/{name.removeprefix(f'eval/{env}/')}" in names
        )
        for env in envs
    )
