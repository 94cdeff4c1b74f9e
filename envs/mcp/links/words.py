"""What a server said on stderr, in the one line that tells most."""

from __future__ import annotations

import re

TELLING = re.compile(r"error|exception|cannot|no such|not found", re.IGNORECASE)
MOST = 300


def last_words(said: bytes) -> str:
    """The last line that names an error, else the last line."""
    lines = [line.strip() for line in said.decode(errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if TELLING.search(line) and not line.startswith("at ")]
    return (telling or lines or [""])[-1][:MOST]
