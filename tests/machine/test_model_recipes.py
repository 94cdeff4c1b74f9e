"""Recipes for models that people have: a dry run each, with no network, on rows as its data has."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from munro.envs.loader import load as load_environment
from munro.machine.cli.main import munro
from munro.machine.loading import load
from tests.hub import FakeHub, serving, use
from tests.rl.builders import save_model

ROOT = Path(__file__).parents[2]
GSM8K = {"question": "2 apples and 3 more: how many?", "answer": "2 + 3 = <<2+3=5>>5\n#### 5"}
DEEPSCALER = {"problem": "Halve $\\frac{2}{3}$.", "answer": "\\frac{1}{3}", "solution": "..."}
MBPP = {
    "task_id": 2, "text": "Write a function to add.", "code": "def add(a, b):\r\n    return a + b",
    "test_list": ["assert add(1, 2) == 3", "assert add(0, 0) == 0"], "test_setup_code": "",
}  # fmt: skip
RECIPES = ("gsm8k_qwen3", "math_qwen3", "code_qwen3")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """No network, and a cache that holds nothing."""
    with serving() as hub:
        use(monkeypatch, hub, tmp_path / "cache", offline=True)
        monkeypatch.chdir(tmp_path)
        yield hub


def example(name: str) -> Any:
    """A script of examples/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(recipe: str, folder: Path) -> list[str]:
    """Options that have a recipe read rows of its data set's form from files."""
    file = folder / "rows.jsonl"
    if recipe == "code_qwen3":
        example("mbpp_rows").write([{**MBPP, "task_id": i} for i in range(9)], file)
    else:
        row = GSM8K if recipe == "gsm8k_qwen3" else DEEPSCALER
        asked = "question" if recipe == "gsm8k_qwen3" else "problem"
        lines = [json.dumps({**row, asked: f"{row[asked]} ({i})"}) for i in range(9)]
        file.write_text("\n".join(lines))
    return ["--env.args.path", str(file), "--env.args.test_path", str(file)]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_dry_run_needs_neither_network_nor_weights(offline: FakeHub, tmp_path: Path, recipe: str):
    words = ["climb", recipe, "--dry-run", *rows(recipe, tmp_path)]
    done = CliRunner().invoke(munro, words, catch_exceptions=False)
    assert done.exit_code == 0
    assert "of the hub: not looked at (no network), to be fetched at the start" in done.output
    assert "9 to train on" in done.output
    assert not offline.asked


def test_where_there_is_network_the_size_is_told_and_nothing_fetched(
    offline: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    save_model(tmp_path / "made")
    offline.add("Qwen/Qwen3-0.6B", tmp_path / "made")
    use(monkeypatch, offline, tmp_path / "cache")
    words = ["climb", "gsm8k_qwen3", "--dry-run", *rows("gsm8k_qwen3", tmp_path)]
    done = CliRunner().invoke(munro, words, catch_exceptions=False)
    assert "Qwen/Qwen3-0.6B, of the hub at commit" in done.output
    assert "GB of weights, fetched at the start" in done.output
    assert not offline.fetched


@pytest.mark.parametrize("recipe", RECIPES)
def test_its_head_says_what_was_not_run_and_its_sizes_go_together(recipe: str):
    config = load(recipe)
    text = (ROOT / "configs" / f"{recipe}.toml").read_text()
    assert "Not run by us: no GPU was at hand" in " ".join(text.replace("#", " ").split())
    # a prompt of at least a thousand tokens beside the longest reply, and a row holds the two
    assert config.rollout.max_context >= config.length.stages[-1] + 1024
    assert config.learner.token_budget >= config.rollout.max_context
    # one pass or one failure among all attempts is within the gates, all or none is not
    for share, gate in (
        (1 / config.rollout.group_size, config.rollout.pass_rate),
        (1 / config.rollout.num_early, config.rollout.early_pass_rate),
    ):
        assert gate[0] <= share
        assert 1 - share <= gate[1]
        assert gate[0] > 0
        assert gate[1] < 1


def test_rows_of_mbpp_are_graded_by_their_own_solution(tmp_path: Path):
    file = tmp_path / "mbpp.jsonl"
    example("mbpp_rows").write([MBPP], file)
    code = load_environment("code", path=str(file), test_share=0.0)
    (task,) = code.tasks("train")
    assert "assert add(1, 2) == 3" in task.prompt
    gold = code.gold_reply(task)
    assert code.grade(task, gold).passed
    assert not code.grade(task, gold.replace("a + b", "a - b")).passed
