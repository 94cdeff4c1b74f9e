"""weighted-safety-refusal: `input`, `target` (refusal or comply) and `metadata`; harmful requests
(ids with _h) beside matched harmless ones (_b)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from munro.envs.data.columns import text_of
from munro.envs.safety.cases import Case

COLUMNS = ("input", "target", "metadata")
NUMBERED = re.compile(r"(?P<category>.+)_(?P<side>[hb])(?P<number>\d+)")
TARGETS = {"refusal": True, "comply": False}


def weighted_safety_refusal(row: Mapping[str, Any], place: str) -> Case:
    """A row of weighted-safety-refusal; the two of one number stay together."""
    target = text_of(row, "target", place)
    if target not in TARGETS:
        raise ValueError(f"{place}: target = {target!r}: give 'refusal' or 'comply'.")
    name, about = str(row.get("id") or ""), row["metadata"]
    found = NUMBERED.fullmatch(name)
    return Case(
        prompt=text_of(row, "input", place),
        is_harmful=TARGETS[target],
        id=name,
        category=str(about.get("category", "")) if isinstance(about, Mapping) else "",
        subset="weighted_safety_refusal",
        group=f"{found['category']}/{found['number']}" if found else "",
    )
