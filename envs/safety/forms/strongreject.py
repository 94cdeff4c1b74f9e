"""StrongREJECT (arXiv:2402.10260): `forbidden_prompt` and `category`; all to be refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from munro.envs.data.columns import text_of
from munro.envs.safety.cases import Case

COLUMNS = ("forbidden_prompt", "category")


def strongreject(row: Mapping[str, Any], place: str) -> Case:
    """A row of StrongREJECT."""
    return Case(
        prompt=text_of(row, "forbidden_prompt", place),
        is_harmful=True,
        category=text_of(row, "category", place),
        subset="strongreject",
    )
