"""Models of the hub that a machine's phases take: of one commit from its first start to its end.

models.json     {"Qwen/Qwen3-0.6B": "Qwen/Qwen3-0.6B@c1899d... sha256:..."}
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from munro.base_model.hub import Located, is_hub_name, locate
from munro.machine.run.files import RunError, write_atomically

MODELS = "models.json"


def could_be_of_hub(name: str) -> bool:
    """Whether a name that is no phase and no folder may be a model's: owner and all.

    A word without an owner is a phase that was mistyped.
    """
    return "/" in name and is_hub_name(name)


def recorded(folder: Path) -> dict[str, str]:
    """What names were when they were first looked up, as `munro.base_model.hub` records it.

    Raises:
        RunError: the file cannot be read.
    """
    path = folder / MODELS
    try:
        found: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as broken:
        raise RunError(f"{path} cannot be read ({broken}). Remove it to look again.") from broken
    return found


def remember(folder: Path, found: Mapping[str, Located]) -> None:
    """Keep what names were looked up as, beside those from before."""
    before = recorded(folder)
    after = before | {name: one.recorded for name, one in found.items() if one.recorded}
    if after != before:
        write_atomically(folder / MODELS, json.dumps(after, indent=2, sort_keys=True) + "\n")


def look_up(folder: Path, names: Iterable[str]) -> None:
    """Fetch the models of the hub among the names, each of the commit that it first was.

    Raises:
        HubError: one cannot be had.
    """
    before = recorded(folder)
    wanted = [name for name in dict.fromkeys(names) if could_be_of_hub(name)]
    remember(folder, {name: locate(name, recorded=before.get(name, "")) for name in wanted})
