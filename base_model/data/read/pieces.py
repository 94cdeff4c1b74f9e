"""A piece of a source: what one read goes through."""

from __future__ import annotations

import sysconfig
from dataclasses import dataclass
from pathlib import Path

PACKED = (".gz", ".zst", ".bz2")


@dataclass(frozen=True, slots=True)
class Piece:
    """What one read goes through: a file, or bytes or rows of one from `start` to `stop`."""

    path: str
    format: str
    start: int
    stop: int
    root: str
    """The path of the recipe it was found under."""
    size_bytes: int


def expanded(path: str) -> Path:
    """With `{stdlib}`, `{site-packages}` and `~` replaced."""
    paths = sysconfig.get_paths()
    path = path.replace("{stdlib}", paths["stdlib"]).replace("{site-packages}", paths["purelib"])
    return Path(path).expanduser()
