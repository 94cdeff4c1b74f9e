"""The helpful and safe recipes: a dry run of the real one, and the tiny one that it stands for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from munro.envs.loader import load_config
from munro.machine.cli.main import munro
from munro.machine.loading import load
from tests.hub import FakeHub, serving, use

SAFETY = [
    {"id": "h", "prompt": "Say dark red 3 times.", "harmful": True, "severity": 3, "twin": "b"},
    {"id": "b", "prompt": "Say dark bed 3 times.", "harmful": False, "need": 2},
    {"id": "g", "prompt": "Say pale glue 2 times.", "harmful": False, "need": 1},
]
HELPFUL = [
    {"prompt": "Explain a hill climb.", "criteria": ["Says what is climbed."]},
    {"prompt": "Explain a descent.", "criteria": ["Says what goes down."]},
]


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """No network, an empty cache, and a folder `data` as the recipe wants it."""
    (tmp_path / "data").mkdir()
    for name, rows in (("safety", SAFETY), ("helpful", HELPFUL)):
        (tmp_path / "data" / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with serving() as hub:
        use(monkeypatch, hub, tmp_path / "cache", offline=True)
        monkeypatch.chdir(tmp_path)
        yield hub


def test_the_real_recipe_dry_runs_without_network_and_asks_no_judge(offline: FakeHub):
    done = CliRunner().invoke(munro, ["climb", "helpful", "--dry-run"], catch_exceptions=False)
    assert done.exit_code == 0
    assert "tasks     safety, prompts, instructions: " in done.output
    assert not offline.asked


def test_where_a_gate_is_paid_for_the_recipes_say_the_same():
    """The tiny world's rule stands where the judge does: other kinds, the same tree."""
    tiny, real = load("safety_tiny"), load("helpful")
    assert tiny.env[0].reward.gate == real.env[0].reward.gate == "policy/compliance"
    assert tiny.env[0].reward.minimum == real.env[0].reward.minimum
    assert real.env[0].graders["policy"].kind == "judge"
    environment = load_config(tiny.env[0])
    assert len(environment.tasks("test")) > 500
