"""HarmBench (arXiv:2402.04249): `Behavior`, `SemanticCategory`, `FunctionalCategory`, `BehaviorID`;
a `ContextString` stands before the behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from munro.envs.data.columns import text_of
from munro.envs.safety.cases import Case

COLUMNS = ("Behavior", "SemanticCategory", "BehaviorID")


def harmbench(row: Mapping[str, Any], place: str) -> Case:
    """A row of HarmBench."""
    context = str(row.get("ContextString") or "").strip()
    behaviour = text_of(row, "Behavior", place)
    return Case(
        prompt=f"{context}\n\n{behaviour}" if context else behaviour,
        is_harmful=True,
        id=text_of(row, "BehaviorID", place),
        category=text_of(row, "SemanticCategory", place),
        subset=str(row.get("FunctionalCategory") or "harmbench"),
    )
