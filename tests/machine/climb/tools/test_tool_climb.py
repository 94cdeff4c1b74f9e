"""A climb in worlds of tools, killed in the middle of its episodes: no bit of it moves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from munro.base_model.model.tokenizer import train_tokenizer
from munro.rl.control.journal import audit
from munro.rollout.store.store import RolloutStore
from tests.machine.climbing import kill_hard, munro, rows, start, wait_for_step

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(1800)]

CALLER = Path(__file__).parents[4] / "benchmarks" / "agents" / "caller.py"
CONTEXT = 1024
STEPS = 6
RECIPE = """# Calls of tools.
name = "{name}"
folder = "{folder}"
num_steps = {steps}

[model]
path = "{model}"

[[env]]
path = "world"
args = {{ level = 1 }}

[rollout]
engine = "{caller}:caller"
group_size = 4
num_early = 2
early_pass_rate = [0.0, 1.0]
pass_rate = [0.0, 1.0]
template = "plain"
top_p = 1.0
max_context = {context}

[learner]
learning_rate = 1e-3
threads = 1

[batch]
num_groups = 4

[sync]
every_steps = 1
max_staleness = 0

[length]
stages = [600]

[checkpoint]
every_steps = 1

[eval]
every_steps = 0
"""


def written(folder: Path, name: str) -> Path:
    from transformers import LlamaConfig, LlamaForCausalLM

    model = folder / "model"
    if not model.exists():
        config = LlamaConfig(
            vocab_size=400, hidden_size=32, intermediate_size=64, num_hidden_layers=1,
            num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=CONTEXT,
            bos_token_id=1, eos_token_id=2,
        )  # fmt: skip
        LlamaForCausalLM(config).save_pretrained(model)
        text = [RECIPE, '<tool_call>{"name": "price", "arguments": {"name": "rumo"}}</tool_call>']
        train_tokenizer(text, vocab_size=400, max_context=CONTEXT).save_pretrained(model)
    recipe = folder / f"{name}.toml"
    recipe.write_text(
        RECIPE.format(
            name=name, folder=folder / "runs", model=model, caller=CALLER, context=CONTEXT,
            steps=STEPS,
        )
    )  # fmt: skip
    return recipe


def stored(run: Path) -> list[tuple[object, ...]]:
    """Every attempt that is kept, its calls without what the clock says."""
    found = []
    for row in RolloutStore(run / "rollouts").scan(["task_id", "attempt", "solved", "calls"]):
        calls = [
            (made["name"], made["arguments"], made["ok"])
            for made in json.loads(row["calls"] or "[]")
        ]
        found.append((row["task_id"], row["attempt"], row["solved"], tuple(calls)))
    return found


def test_killed_with_9_three_times_it_is_the_climb_that_nothing_interrupted(tmp_path):
    straight = munro("climb", str(written(tmp_path, "straight")), timeout_s=600)
    assert straight.returncode == 0, straight.stdout + straight.stderr
    recipe = str(written(tmp_path, "killed"))
    run = tmp_path / "runs" / "killed"
    for step in (2, 3, 5):
        process = start("climb", recipe)
        wait_for_step(run, step, process, within_s=500)
        kill_hard(process)
    done = munro("climb", recipe)
    assert done.returncode == 0, done.stdout + done.stderr
    calm = tmp_path / "runs" / "straight"
    assert rows(run) == rows(calm)
    assert stored(run) == stored(calm)
    found = audit(run / "journal.jsonl")
    assert found.trained
    assert found.trained_twice == found.skipped == ()
    attempts = stored(run)
    assert all(solved == (attempt != 3) for _, attempt, solved, _ in attempts)
    assert max(len(calls) for *_, calls in attempts) >= 2, "there was no chain of calls"
    assert any(not calls for _, attempt, _, calls in attempts if attempt != 3), "no task without"
