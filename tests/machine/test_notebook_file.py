"""examples/quickstart.ipynb: clean, and (slow) its cells run one after another."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from munro.machine.loading import load
from tests.machine.climbing import write_recipe

ROOT = Path(__file__).parents[2]
FILE = ROOT / "examples" / "quickstart.ipynb"
SHOWN = "IPython"
"""Cells that only a notebook can show."""


def cells() -> list[dict[str, Any]]:
    return [one for one in json.loads(FILE.read_text())["cells"] if one["cell_type"] == "code"]


def test_nothing_is_left_in_it_of_a_run_and_every_cell_is_python() -> None:
    assert len({one["id"] for one in cells()}) == len(cells()) >= 4
    for cell in cells():
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
        ast.parse("".join(cell["source"]))


def test_it_climbs_a_recipe_that_comes_with_munro() -> None:
    (call,) = (line for line in cells()[0]["source"] if "munro.climb(" in line)
    (name,) = (node.value for node in ast.walk(ast.parse(call)) if isinstance(node, ast.Constant))
    assert load(name).name == "quickstart"


@pytest.mark.slow
@pytest.mark.ray
def test_its_cells_run(tmp_path: Path) -> None:
    """On a recipe of seconds in place of the quickstart."""
    recipe = write_recipe(tmp_path)
    source = "\n".join(
        "".join(one["source"]) for one in cells() if SHOWN not in "".join(one["source"])
    ).replace('munro.climb("quickstart")', f"munro.climb({str(recipe)!r}, num_steps=2)")
    assert str(recipe) in source
    done = subprocess.run(
        [sys.executable, "-c", source],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
