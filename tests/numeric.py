"""Which tests compute in floating point, and so may differ from processor to processor.

A file counts when it, or a helper of `tests/` that it imports, imports torch; and so does
everything in the rooms and wings whose subject is such a computation. Nobody marks by hand:
`conftest` asks here and gives the marker `numeric`, and `make test-cpus` runs what has it.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = (
    "kernels",
    "rl",
    "distill",
    "evaluation",
    "base_model/model",
    "base_model/scaling",
    "base_model/training",
    "rewards/preference",
)


@cache
def imported(path: Path) -> frozenset[str]:
    """Names of the modules that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


@cache
def computes(path: Path) -> bool:
    """Whether a file imports torch, itself or through helpers among the tests."""
    names = imported(path)
    if any(name.partition(".")[0] == "torch" for name in names):
        return True
    helpers = (ROOT / f"{name.replace('.', '/')}.py" for name in names if name.startswith("tests."))
    return any(computes(helper) for helper in helpers if helper.is_file())


def is_numeric(path: Path) -> bool:
    """Whether the tests of this file are to be run as on several processors."""
    here = path.relative_to(ROOT / "tests").as_posix()
    return here.startswith(tuple(f"{folder}/" for folder in FOLDERS)) or computes(path)
