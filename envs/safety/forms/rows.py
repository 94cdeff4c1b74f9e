"""Munro's own: `prompt` or `messages`, and any of `harmful`, `category`, `policy`, `target`,
`severity`, `need`, `twin`, `subset`, `id`; other columns are for graders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from munro.envs.data.columns import is_conversation, messages_of, text_of
from munro.envs.safety.cases import Case, level_of

COLUMNS = ("prompt",)
"""Or `messages` in its place."""
OURS = (
    *("prompt", "messages", "id", "harmful", "category", "subset", "policy", "target", "severity"),
    *("need", "twin", "group"),
)
TARGETS = ("refuse", "partial", "do-not-refuse")
WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def rows(row: Mapping[str, Any], place: str) -> Case:
    """A row of Munro's own form."""
    given = row.get("messages")
    if given is None and is_conversation(row.get("prompt")):
        given = row["prompt"]
    target = _text(row, "target")
    if target and target not in TARGETS:
        raise ValueError(f"{place}: target = {target!r}: give {', '.join(TARGETS)}.")
    return Case(
        prompt="" if given is not None else text_of(row, "prompt", place),
        messages=() if given is None else messages_of(given, "messages", place),
        is_harmful=_harmful(row, target, place),
        id=_text(row, "id"),
        category=_text(row, "category"),
        subset=_text(row, "subset"),
        policy=_text(row, "policy"),
        target=target,
        severity=level_of(row, "severity", place),
        need=level_of(row, "need", place),
        twin=_text(row, "twin"),
        group=_text(row, "group"),
        more={key: value for key, value in row.items() if key not in OURS and value is not None},
    )


def _text(row: Mapping[str, Any], column: str) -> str:
    value = row.get(column)
    return "" if value is None or value != value else str(value).strip()


def _harmful(row: Mapping[str, Any], target: str, place: str) -> bool | None:
    value = row.get("harmful")
    if value is None or value != value or value == "":
        return target != "do-not-refuse" if target else None
    if (found := WORDS.get(str(value).strip().lower())) is None:
        raise ValueError(f"{place}: harmful = {value!r:.40}: write true or false.")
    return found
