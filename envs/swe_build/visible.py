"""Folders of this machine that every box shows, and that a leak could be in."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from munro.envs.swe_build.leaks import Fix, Hit, scan
from munro.rewards.sandbox.plan import host_packages

SYSTEM = Path("/usr")


def host_folders(python: str | None = None) -> list[Path]:
    """Folders that the back end of namespaces shows of this machine, outermost only.

    Args:
        python: the interpreter inside; the one that this one's environment stands on.
    """
    prefix = _prefix(python)
    return [SYSTEM] if prefix.is_relative_to(SYSTEM) else [SYSTEM, prefix]


def masked(python: str | None = None) -> list[Path]:
    """Folders of packages that a box does not show, unless its image asks for them."""
    return [path for path, _ in host_packages(_prefix(python))]


def host_leaks(
    fixes: Mapping[str, Fix], folders: Sequence[Path] | None = None
) -> dict[str, list[Hit]]:
    """Hits in what the machine itself shows, by task: read once for all tasks of a build."""
    return scan(host_folders() if folders is None else folders, fixes, without=masked())


def _prefix(python: str | None) -> Path:
    return Path(os.path.realpath(python or sys._base_executable)).parent.parent  # type: ignore[attr-defined]
