"""Questions that a phase builds and climbs of the same machine read.

In the arguments of an environment "{books}" stands for the folder of what the phase `books` builds:

    args = { path = "{books}/scored/questions.jsonl", where = { bracket = ["medium", "hard"] } }
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = "questions"
"""Of the build, in its phase's folder."""
NAMED = re.compile(r"\{([A-Za-z0-9][A-Za-z0-9_-]*)\}")


def built_in(phase: Path) -> Path:
    """Where the phase of that folder builds."""
    return phase / FOLDER


def named_in(value: Any) -> set[str]:
    """Every name in braces in the texts of a tree."""
    if isinstance(value, str):
        return set(NAMED.findall(value))
    inner = list(value.values()) if isinstance(value, Mapping) else value
    return set().union(*map(named_in, inner)) if isinstance(inner, list | tuple) else set()


def placed(recipe: Mapping[str, Any], folders: Mapping[str, str]) -> dict[str, Any]:
    """A climb's keys, with these folders in the arguments of its environments."""
    if not folders or "env" not in recipe:
        return dict(recipe)
    return {**recipe, "env": _with_folders(recipe["env"], folders)}


def _with_folders(value: Any, folders: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return NAMED.sub(lambda found: folders.get(found[1], found[0]), value)
    if isinstance(value, Mapping):
        return {key: _with_folders(inner, folders) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_with_folders(inner, folders) for inner in value]
    return value
