"""All findings on one screen."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from munro.machine.doctor import compute, kernels, libraries, model, places, python, sandboxes
from munro.machine.doctor.types import Finding

MARKS = {"ok": "ok", "missing": "--", "broken": "!!"}
WIDTH = 100
FAMILIES = (python, compute, kernels, libraries, sandboxes, places)


def findings() -> list[Finding]:
    """What every family found, in the order of the screen."""
    return [finding for family in FAMILIES for finding in family.check()]


def findings_of_model(name: str) -> list[Finding]:
    """What can be done with a model, told without its weights.

    Raises:
        HubError, CheckpointError: there is no such model.
    """
    return list(model.check(name))


def table(found: Sequence[Finding]) -> str:
    """A line a finding; below one that is not well, what it costs."""
    lines = []
    for one in found:
        lines.append(f"{MARKS[one.level]} {one.name:<14}{one.found}")
        lines += textwrap.wrap(
            one.cost,
            WIDTH,
            initial_indent=" " * 17,
            subsequent_indent=" " * 17,
            break_long_words=False,
            break_on_hyphens=False,
        )
    broken = [one.name for one in found if one.level == "broken"]
    last = f"in the way of a climb: {', '.join(broken)}" if broken else "a climb can start"
    return "\n".join([*lines, last])
