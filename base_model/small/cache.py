"""Where what is made once is kept."""

from __future__ import annotations

import os
from pathlib import Path


def default_cache_dir() -> Path:
    """`$XDG_CACHE_HOME/munro`, or `~/.cache/munro`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "munro"
