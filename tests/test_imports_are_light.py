"""`munro --help`, configs and environments load without the GPU stack."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from munro.rewards.plugins import ROOMS

ROOT = Path(__file__).parents[1]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("munro", *(parts[:-1] if parts[-1] == "__init__" else parts)))


LIGHT = {
    "the command line": ["munro.machine.cli.main"],
    "a climb until it starts something": [
        "munro.machine.climb.process",
        "munro.machine.run.status",
    ],
    "types and configs": [
        module_name(path)
        for room in ROOMS
        for name in ("types", "config")
        for path in sorted((ROOT / room).rglob(f"{name}.py"))
    ],
    "environments": [
        module_name(path)
        for path in sorted((ROOT / "envs").rglob("*.py"))
        if path.name != "cluster.py"
    ],
    "rewards": [
        module_name(path)
        for path in sorted((ROOT / "rewards").rglob("*.py"))
        if path.name != "cluster.py"
    ],
}

PROGRAM = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
    heavy = {"torch", "transformers", "vllm", "ray", "triton"} & {*sys.modules}
    if heavy:
        sys.exit(f"{name} loads {sorted(heavy)}")
"""


@pytest.mark.parametrize("what", LIGHT)
def test_they_import_without_the_gpu_stack(what: str) -> None:
    assert LIGHT[what]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *LIGHT[what]], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
