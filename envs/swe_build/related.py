"""Which test files have to do with which modules, by what they mention."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from munro.envs.swe_build.split import Side, runs, side


def test_files(tree: Mapping[str, bytes]) -> dict[str, bytes]:
    """Files that pytest collects."""
    return {
        path: contents for path, contents in tree.items() if side(path) is Side.TESTS and runs(path)
    }


def related(modules: Iterable[str], tree: Mapping[str, bytes], most: int) -> list[str]:
    """Test files that mention one of the modules, those that are named after it first.

    Args:
        modules: paths of code.
        tree: every file.
        most: at most so many.
    """
    words = [PurePosixPath(path).stem for path in modules]
    words = [word for word in words if word != "__init__"] or [
        PurePosixPath(path).parent.name for path in modules
    ]
    words = [word for word in words if word]
    if not words:
        return []
    pattern = re.compile(rb"\b(" + b"|".join(re.escape(word).encode() for word in words) + rb")\b")
    found = []
    for path, contents in sorted(test_files(tree).items()):
        stem = f"_{PurePosixPath(path).stem}_"
        is_named = any(f"_{word.strip('_')}_" in stem for word in words)
        if is_named or pattern.search(contents):
            found.append((not is_named, len(contents), path))
    return [path for _, _, path in sorted(found)[:most]]
