"""Agents through the whole of a climb: a scripted policy in the place of what an engine samples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from munro.base_model.model.tokenizer import train_tokenizer
from munro.envs.swe import folders_in
from munro.envs.swe.folder import LAYERS, write_folder
from munro.envs.swe_build.candidates import contents_at, made
from munro.envs.swe_build.made.bugs import propose_bugs
from munro.rollout.store.store import RolloutStore
from tests.envs.swe.boxes import bench
from tests.envs.swe.tasks import SMALL, task_of
from tests.envs.swe_build.building import builder
from tests.envs.swe_build.histories import Hand
from tests.machine.climbing import munro

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(1800)]

GOOD = Path(__file__).parents[3] / "benchmarks" / "agents" / "good.py"
CONTEXT = 16_384
RECIPE = """# Agents that do their work.
name = "agents"
folder = "{folder}"
num_steps = 1000

[model]
path = "{model}"

[[env]]
path = "swe"
args = {{ path = "{tasks}", test_share = 0.0, reward = "solved" }}
budget = {{ turns = 30, observation_tokens = 512, boxes = 2 }}

[rollout]
engine = "{good}:good"
group_size = 4
num_early = 2
early_pass_rate = [0.0, 1.0]
pass_rate = [0.0, 1.0]
template = "plain"
top_p = 1.0
max_context = {context}
groups_in_flight = 2
start_deadline_s = 300.0
grade_deadline_s = 300.0

[learner]
learning_rate = 1e-5
threads = 1
token_budget = {context}

[batch]
num_groups = 2

[sync]
every_steps = 1
max_staleness = 2

[length]
stages = [12000]

[checkpoint]
every_steps = 2

[eval]
every_steps = 0
"""
COUNTS = b'''"""What can be counted."""


def below(numbers, bound):
    """Those under a bound."""
    return [number for number in numbers if number < bound]


def longest_run(text):
    """The longest stretch of one character."""
    best = run = 0
    last = None
    for letter in text:
        run = run + 1 if letter == last else 1
        last = letter
        if run > best:
            best = run
    return best


def clamp(number, low, high):
    """The nearest number within bounds."""
    if number < low:
        return low
    if number > high:
        return high
    return number


def pairs(items):
    """Neighbours."""
    return [(items[at], items[at + 1]) for at in range(len(items) - 1)]


def share(part, whole):
    """Of a whole, nothing of nothing."""
    if not whole:
        return 0
    return part / whole
'''
COUNTS_TESTS = b"""import pytest
from counts import below, clamp, longest_run, pairs, share


def test_below():
    assert below([1, 2, 3], 3) == [1, 2]


def test_longest_run():
    assert longest_run("abbbcc") == 3
    assert longest_run("") == 0
    assert longest_run("aab") == 2


@pytest.mark.parametrize(("number", "kept"), [(-4, 0), (0, 0), (5, 5), (9, 9), (12, 9)])
def test_clamp(number, kept):
    assert clamp(number, 0, 9) == kept


def test_pairs():
    assert pairs([1, 2, 4]) == [(1, 2), (2, 4)]
    assert pairs([1]) == []


def test_share():
    assert share(1, 4) == 0.25
    assert share(3, 0) == 0
"""


def tiny_model(folder: Path) -> None:
    """A random Llama of one layer that reads long streams."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=400, hidden_size=32, intermediate_size=64, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=CONTEXT,
        bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    texts = [COUNTS.decode(), COUNTS_TESTS.decode(), RECIPE]
    train_tokenizer(texts, vocab_size=400, max_context=CONTEXT).save_pretrained(folder)


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """Three small pull requests, and bugs that were made of one small package."""
    top = tmp_path_factory.mktemp("tasks")
    hand = Hand(tmp_path_factory.mktemp("repository"))
    hand.commit("Begin", {"counts.py": COUNTS, "test_counts.py": COUNTS_TESTS})
    with bench(top / LAYERS) as swe:
        for small in SMALL:
            task = task_of(small, swe)
            write_folder(task, top / task.id)
        repository = hand.repository
        tree = contents_at(repository, "HEAD")
        bugs = made(propose_bugs(repository, tree, "counts", seed=0), 16).proposals
        builder(repository, top, swe.box, swe.store).build(bugs)
    return top


def test_an_agent_that_does_its_work_solves_ten_tasks(tasks, tmp_path, monkeypatch):
    folders = folders_in(tasks)
    assert len(folders) >= 10
    tiny_model(tmp_path / "model")
    recipe = tmp_path / "agents.toml"
    recipe.write_text(
        RECIPE.format(
            folder=tmp_path / "runs", model=tmp_path / "model", tasks=tasks, good=GOOD,
            context=CONTEXT,
        )
    )  # fmt: skip
    layers = {path.name for path in (tasks / LAYERS).glob("[!.]*")}
    monkeypatch.setenv("MUNRO_SWE_TASKS", str(tasks))
    done = munro("climb", str(recipe), "--num_tasks", str(len(folders)), timeout_s=1500)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [
        *RolloutStore(tmp_path / "runs" / "agents" / "rollouts").scan(
            ["task_id", "attempt", "solved", "ending", "calls"]
        )
    ]
    assert {row["task_id"] for row in rows} == {folder.name for folder in folders}
    assert len(rows) == 4 * len(folders)
    # who does its work passes, who says that it did does not
    wrong = [row["task_id"] for row in rows if row["solved"] != (row["attempt"] != 3)]
    assert wrong == []
    assert {row["ending"] for row in rows} == {"answered"}
    for row in rows:
        names = [made["name"] for made in json.loads(row["calls"] or "[]")]
        assert (names[-1:] == ["bash"] and "str_replace_editor" in names) == row["solved"]
    # nothing that episodes saved is left
    assert {path.name for path in (tasks / LAYERS).glob("[!.]*")} == layers
    assert "Turns of an attempt" in (tmp_path / "runs" / "agents" / "report.html").read_text()
