"""Small climbs through the real command: a random model, an easy environment of the user's own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from munro.base_model.model.tokenizer import train_tokenizer
from munro.machine.run.metrics import is_timing
from tests.rollout.tiny_llama import CONTEXT, VOCAB, tiny_llama

MINE = '''
from munro.envs import Grade, SingleTurn, Task


class Mine(SingleTurn):
    """Write an even token: half the vocabulary passes, and the other half can be unlearned."""

    def tasks(self, split):
        return [Task(id=f"{split}-{i}", prompt=f"say {i}", payload={}) for i in range(64)]

    def grade(self, task, reply):
        return Grade.of(len(reply) % 2 == 0)
'''

RECIPE = """# A climb of seconds.
name = "{name}"
folder = "{folder}"
num_steps = 4
env = "{env}"

[model]
path = "{model}"

[rollout]
engine = "transformers"
group_size = 4
num_early = 2
early_pass_rate = [0.0, 1.0]
pass_rate = [0.0, 1.0]
template = "plain"
max_context = 64
nucleus_candidates = 32

[learner]
learning_rate = 1e-3
threads = 1

[batch]
num_groups = 2

[sync]
every_steps = 1
max_staleness = 0

[length]
stages = [8]

[checkpoint]
every_steps = 2

[eval]
every_steps = 2
num_tasks = 4
"""


def write_recipe(folder: Path, name: str = "small", env: str = MINE) -> Path:
    """A model, an environment and a recipe below `folder`; returns the recipe."""
    model = folder / "model"
    if not model.exists():
        tiny_llama(tied=True).save_pretrained(model)
        texts = ["say what you like, and say it again"] * 4
        train_tokenizer(texts, vocab_size=VOCAB, max_context=CONTEXT).save_pretrained(model)
    mine = folder / "mine.py"
    mine.write_text(env)
    recipe = folder / f"{name}.toml"
    recipe.write_text(
        RECIPE.format(name=name, folder=folder / "runs", env=f"{mine}:Mine", model=model)
    )
    return recipe


def command(*arguments: str) -> list[str]:
    """`munro` with these arguments, whatever is installed as a script."""
    return [sys.executable, "-c", "from munro.machine.cli.main import main; main()", *arguments]


def munro(
    *arguments: str, timeout_s: float = 600, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, with these variables added to the environment."""
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        env={**os.environ, **(env or {})},
    )


def start(*arguments: str) -> subprocess.Popen[str]:
    """Start the command in a session of its own."""
    return subprocess.Popen(
        command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def rows(run: Path) -> list[dict[str, Any]]:
    """The run's metrics without what the clock says."""
    path = run / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    found = [json.loads(line) for line in lines if line.endswith("}")]
    return [{k: v for k, v in row.items() if not is_timing(k)} for row in found]


def wait_for_step(run: Path, step: int, process: subprocess.Popen[str], within_s: float) -> None:
    """Return once the run has logged `step`."""
    end = time.monotonic() + within_s
    while not any(row["step"] >= step for row in rows(run)):
        if process.poll() is not None or time.monotonic() > end:
            raise AssertionError(f"step {step} did not come: {process.communicate()[0]}")
        time.sleep(0.05)


def kill_hard(process: subprocess.Popen[str]) -> None:
    """kill -9 of the driver alone; what it started must end by itself."""
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
