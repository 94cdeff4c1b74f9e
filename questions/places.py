"""What a path in a recipe stands for."""

from __future__ import annotations

from pathlib import Path

SAMPLES = "{samples}"
"""Stands for the folder of documents that come with Munro."""


def located(path: str) -> Path:
    """A path as a person writes it, with `~` and `{samples}` replaced."""
    return Path(path.replace(SAMPLES, str(Path(__file__).parent / "samples"))).expanduser()
