"""The recipes that mix shells, tools and neither name what is there, in the report's shares."""

from __future__ import annotations

import inspect
import tomllib
from pathlib import Path

import pytest

from munro.envs.config import EnvConfig
from munro.envs.loader import find, load
from munro.envs.problem_set import TaskPool
from munro.envs.worlds.making.draw import SHARES
from munro.machine.loading import load as recipe

CONFIGS = Path(__file__).parents[2] / "configs"


def agentic() -> list[EnvConfig]:
    return recipe(str(CONFIGS / "agentic.toml")).env


def test_a_fifth_is_stem_and_both_halves_are_there() -> None:
    shares = {one.path: one.weight for one in agentic()}
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["qa"] == pytest.approx(0.2)
    assert shares["swe"] > 0
    assert shares["world"] > 0
    assert "bfcl" not in shares


def machine(name: str) -> dict[str, dict[str, object]]:
    """The phases of a machine, as they are written."""
    phases: dict[str, dict[str, object]] = tomllib.loads((CONFIGS / name).read_text())["phases"]
    return phases


def phase() -> list[EnvConfig]:
    written = machine("machine.toml")["agentic"]["set"]
    assert isinstance(written, dict)
    return [EnvConfig.model_validate(one) for one in written["env"]]


@pytest.mark.parametrize("environments", [agentic, phase])
def test_every_environment_is_there_and_takes_what_it_is_given(environments) -> None:
    shares = {one.path: one.weight for one in environments()}
    assert shares == {one.path: one.weight for one in agentic()}
    for one in environments():
        inspect.signature(find(one.path)).bind(**one.args)


def test_its_worlds_show_sixty_tools_and_a_tenth_of_their_tasks_wants_none() -> None:
    (world,) = [one for one in agentic() if one.path == "world"]
    pool = TaskPool(load("world", **world.args), "train")
    assert len(pool.draw(0, 0).tools) == 60
    assert "kinds" not in world.args
    assert SHARES["no_tool"] == pytest.approx(0.1 * sum(SHARES.values()))


def test_the_tiny_machine_has_a_specialist_in_tools_and_one_without_stays() -> None:
    with_tools, without = machine("machine_tools_tiny.toml"), machine("machine_tiny.toml")
    assert with_tools["tools"]["set"]["env"] == {"path": "world", "args": {"level": 1}}
    assert [*with_tools] == ["base", "arithmetic", "tools", "safe", "merged", "final", "scores"]
    assert [*without] == ["base", "arithmetic", "expressions", "safe", "merged", "final", "scores"]
    # alone it is configs/tools_tiny.toml, in what is learned and how
    alone = machine("tools_tiny.toml")
    for key in ("num_steps", "env", "learner", "length"):
        assert with_tools["tools"]["set"][key] == alone["tools"]["set"][key]
    for key in ("base.vocab_size", "beginnings"):
        assert dug(with_tools["base"], key) == dug(alone["base"], key)


def dug(table, key):
    for name in key.split("."):
        table = table[name]
    return table
