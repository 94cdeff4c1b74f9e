"""Which form a folder has, and the task in it."""

from __future__ import annotations

from pathlib import Path

from munro.envs.harbor.errors import BadFolder
from munro.envs.harbor.folder import Foreign, read_harbor
from munro.envs.harbor.terminal import read_terminal


def is_foreign(path: Path) -> bool:
    """Whether a folder is of one of the two forms."""
    return (path / "task.toml").is_file() or (path / "task.yaml").is_file()


def read_foreign(path: Path) -> Foreign:
    """The task in a folder.

    Raises:
        BadFolder: there is none, or one that no box of ours can be.
    """
    if (path / "task.toml").is_file():
        return read_harbor(path)
    if (path / "task.yaml").is_file():
        return read_terminal(path)
    raise BadFolder(f"{path} holds no task: there is neither task.toml nor task.yaml in it")
