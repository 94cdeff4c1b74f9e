"""A small package of the user's own, as pip leaves it: a dist-info folder with entry points."""

from __future__ import annotations

from pathlib import Path


def installed(folder: Path, group: str, name: str = "guests", **points: str) -> Path:
    """Write what makes `points` (name = "module:attribute") entry points of `group`.

    Put the folder on the path for them to be found.
    """
    about = folder / f"{name}-1.0.dist-info"
    about.mkdir(parents=True, exist_ok=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"{point} = {target}" for point, target in points.items()]
    (about / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))
    return folder
