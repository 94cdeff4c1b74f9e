"""Do-Not-Answer (arXiv:2308.13387): `question` and `risk_area`; all of them to be refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from munro.envs.data.columns import text_of
from munro.envs.safety.cases import Case

COLUMNS = ("question", "risk_area")


def do_not_answer(row: Mapping[str, Any], place: str) -> Case:
    """A row of Do-Not-Answer; its category is the kind of harm, where the row has one."""
    return Case(
        prompt=text_of(row, "question", place),
        is_harmful=True,
        id=f"do-not-answer-{row['id']}" if row.get("id") not in (None, "") else "",
        category=str(row.get("types_of_harm") or text_of(row, "risk_area", place)),
        subset="do_not_answer",
    )
