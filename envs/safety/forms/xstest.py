"""XSTest (arXiv:2308.01263): `prompt`, `type` and `label`; safe prompts that sound unsafe, and
their contrasts. Rows with one `focus` word stay together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from munro.envs.data.columns import text_of
from munro.envs.safety.cases import Case

COLUMNS = ("prompt", "type", "label")
LABELS = ("safe", "unsafe")


def xstest(row: Mapping[str, Any], place: str) -> Case:
    """A row of XSTest."""
    kind, label = text_of(row, "type", place), text_of(row, "label", place)
    if label not in LABELS:
        raise ValueError(f"{place}: label = {label!r}: XSTest has 'safe' and 'unsafe'.")
    family, focus = kind.removeprefix("contrast_"), str(row.get("focus") or "").strip()
    return Case(
        prompt=text_of(row, "prompt", place),
        is_harmful=label == "unsafe",
        id=f"xstest-{row['id']}" if row.get("id") not in (None, "") else "",
        category=kind,
        subset="xstest",
        group=f"{family}/{focus}" if focus else "",
    )
