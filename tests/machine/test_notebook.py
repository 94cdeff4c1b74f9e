"""`munro.climb` from a notebook: it returns or raises, and leaves nothing behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import munro
from munro.machine.climb.interrupt import Interrupt
from munro.machine.errors import BadConfig
from munro.machine.loading import load_with
from tests.machine.climbing import write_recipe

SMALL = "num_steps = 3\n[env]\npath = 'arithmetic'\nargs = { digits = 2 }\n[learner]\nranks = 2\n"

NOTEBOOK = """
import asyncio, json, sys
import psutil
import munro

async def cell():  # a notebook's cell runs inside of a loop that runs
    return munro.climb(sys.argv[1], num_steps=2, learner={"learning_rate": 1e-4})

climbed = asyncio.run(cell())
again = munro.climb(sys.argv[1], num_steps=2, **{"learner.learning_rate": 1e-4})
import ray
print(json.dumps({
    "status": climbed.status, "step": climbed.step, "again": again.step,
    "checkpoint": climbed.checkpoint.name, "report": climbed.report.is_file(),
    "evaluated": "eval/pass_rate" in climbed.metrics, "steps": climbed.metrics["step"],
    "ray": ray.is_initialized(),
    "children": [p.name() for p in psutil.Process().children(recursive=True)],
}))
ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False)
try:
    munro.climb(sys.argv[1], num_steps=2, name="other")
except ValueError as error:
    print(type(error).__name__, error, ray.is_initialized())
ray.shutdown()
"""


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "recipe.toml"
    path.write_text(SMALL)
    return str(path)


def test_keys_are_given_as_python_has_them(recipe: str) -> None:
    config = load_with(
        recipe,
        {
            "num_steps": 5,
            "learner": {"learning_rate": 1e-4},
            "clip.eps": 0.3,
            "length.stages": (4, 8),
            "folder": Path("elsewhere"),
        },
    )
    assert (config.num_steps, config.clip.eps, config.folder) == (5, 0.3, "elsewhere")
    assert (config.learner.learning_rate, config.learner.ranks) == (1e-4, 2)
    assert config.length.stages == (4, 8)
    assert config.env[0].args == {"digits": 2}


@pytest.mark.parametrize("env", ["mine.py:Mine", {"path": "mine.py:Mine"}])
def test_another_environment_replaces_the_recipes_whole(recipe: str, env: object) -> None:
    (found,) = load_with(recipe, {"env": env}).env
    assert (found.path, found.args) == ("mine.py:Mine", {})


def test_a_text_is_a_text(recipe: str) -> None:
    assert load_with(recipe, {"name": "7"}).name == "7"
    with pytest.raises(BadConfig, match="num_steps = 'many'"):
        load_with(recipe, {"num_steps": "many"})


def test_what_is_wrong_is_raised(recipe: str) -> None:
    with pytest.raises(BadConfig, match=r"set rollout\.group_size"):
        munro.climb(recipe, num_generations=8)
    with pytest.raises(BadConfig, match=r"Did you mean .*quickstart"):
        munro.climb("quikstart")


@pytest.mark.ray
@pytest.mark.climb
def test_a_climb_in_a_running_event_loop_returns_and_leaves_no_ray(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NOTEBOOK, str(write_recipe(tmp_path))],
        capture_output=True,
        text=True,
        timeout=1000,
    )
    assert done.returncode == 0, done.stderr
    (told,) = (line for line in done.stdout.splitlines() if line.startswith("{"))
    refused = done.stdout.splitlines()[-1]
    assert json.loads(told) == {
        "status": "finished",
        "step": 2,
        "again": 2,
        "checkpoint": "step-000002",
        "report": True,
        "evaluated": True,
        "steps": 2,
        "ray": False,
        "children": [],
    }
    assert refused.startswith("BadConfig Ray runs in this process already: end it with")
    assert refused.endswith("True")


def test_in_a_thread_signals_are_left_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    with ThreadPoolExecutor(1) as threads:
        inside = threads.submit(lambda: [Interrupt(print).__enter__().requested]).result()
    assert inside == [False]
    assert signal.getsignal(signal.SIGINT) is before
