"""`env check` of every environment of several turns that comes with Munro, with what each needs.

One that is new must say here how it is made: it is found by its name.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from munro.envs.base import SingleTurn
from munro.envs.check import check
from munro.envs.loader import available, find
from munro.envs.swe.folder import LAYERS, write_folder
from munro.envs.world.source import composed
from munro.envs.worlds.rows import draw
from tests.envs.bfcl.installed import bfcl_eval
from tests.envs.harbor.folders import SIMPLE, written
from tests.envs.mcp.playing import rows_in
from tests.envs.swe.boxes import bench
from tests.envs.swe.tasks import SMALL, task_of

HERE = Path(__file__).parent
BESIDE = {"agent", "recorded"}
"""Of the first the policy is a program that asks an address: nothing can be played in its place.
The second grades nothing by itself: test_contract.py gives it a grader."""


def several_turns() -> list[str]:
    return [name for name, _ in available() if not issubclass(find(name), SingleTurn)]


def made(top: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every environment, and its arguments."""
    yield f"{HERE / 'test_check.py'}:Vault", {}
    yield "world", {}
    yield "world", {"level": 1}
    yield "world", {"domains": ["airline", "bank", "mail", "school"], "tools": 60}
    written(top / "harbor" / "simple", SIMPLE)
    yield "harbor", {"path": str(top / "harbor"), "store": str(top / "layers"), "test_share": 0.0}
    tasks = top / "tasks"
    with bench(tasks / LAYERS) as swe:
        for small in SMALL:
            task = task_of(small, swe)
            write_folder(task, tasks / task.id)
    yield "swe", {"path": str(tasks), "test_share": 0.0}
    yield "bfcl", {"data": bfcl_eval()}
    yield "remote", {"python": sys.executable, "side": "echo"}
    things = draw(composed(["stall"]), seed="serve/0", size=1.0)["stall.thing"]
    asked = [
        {
            "prompt": f"What does {thing['name']} cost?",
            "answer": str(thing["price"]),
            "calls": [{"name": "price", "arguments": {"name": thing["name"]}}],
        }
        for thing in things[:2]
    ]
    servers = {"stall": {"object": "tests.envs.mcp.objects:stall"}}
    yield "mcp", {"path": rows_in(top, *asked), "servers": servers, "test_share": 0}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_environment_of_several_turns_is_sound(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tried, total = set(), 0.0
    for name, args in made(tmp_path):
        before, began = spent_s(), time.monotonic()
        report = check(name, **args)
        assert report.problems == (), (name, args)
        used = spent_s() - before
        total += used
        tried.add(report.path)
        with capsys.disabled():
            print(  # noqa: T201 - what was found out
                f"\n{time.monotonic() - began:6.1f} s, {used:5.1f} s of it computing: "
                f"{Path(name).name} {', '.join(args)}; {len(report.warnings)} warnings",
                end="",
            )
    untold = sorted({*several_turns()} - tried - BESIDE)
    assert not untold, f"say in `made` how {', '.join(untold)} is made"
    with capsys.disabled():
        print(f"\n{total:.1f} s of computing in all")  # noqa: T201


def spent_s() -> float:
    """Processor seconds of this process and of those children of it that have ended."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    used = [resource.getrusage(kind) for kind in kinds]
    return sum(one.ru_utime + one.ru_stime for one in used)
