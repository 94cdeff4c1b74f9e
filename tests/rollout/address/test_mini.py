"""mini-swe-agent, as it comes from its wheel, in a box: its own prompts, tool and loop.

pip install --target FOLDER mini-swe-agent==2.4.6
MUNRO_MINI_SWE_AGENT=FOLDER pytest -m slow tests/rollout/address/test_mini.py
"""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest

from munro.envs.agent import Agent
from munro.rewards.config import RewardsConfig
from munro.rollout.config import RolloutConfig
from munro.rollout.problem import ProblemWorker
from munro.rollout.types import Group
from tests.rollout.address.agents import CALLING, END, engine

FOLDER = os.environ.get("MUNRO_MINI_SWE_AGENT", "")
COMMAND = [
    "python3", "-m", "minisweagent", "-y", "--exit-immediately", "-m", "openai/{model}",
    "-c", "mini.yaml", "-c", "model.cost_tracking=ignore_errors", "-o", "/tmp/work/run.json",
    "-t", "{prompt}",
]  # fmt: skip
QUIET = {
    "MSWEA_CONFIGURED": "true",
    "MSWEA_SILENT_STARTUP": "1",
    "MSWEA_GLOBAL_CONFIG_DIR": "/tmp/work/.mini",
    "MSWEA_MODEL_RETRY_STOP_AFTER_ATTEMPT": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
}
NOTES = """
from munro.envs import Task
from munro.envs.shell import Shell
from munro.rewards.sandbox import Image

class Notes(Shell):
    def tasks(self, split):
        return [Task(id="note", prompt="Write 42 into the file note.")]

    def image(self, task):
        return Image()

    def grade(self, task, reply, state):
        found = state["box"].session.look("note")
        return found is not None and found.contents.strip() == b"42"
"""


def call(command):
    made = {"name": "bash", "arguments": {"command": command}}
    return f"So.\n<tool_call>{json.dumps(made)}</tool_call>"


def policy():
    """Writes the note, right in every other attempt; forgets the tool once; submits."""
    served = engine(tokenizer=CALLING)

    def writes(request):
        _, attempt, _, turn = request.key
        number = 42 if attempt % 2 else 41
        turns = [
            call(f"echo {number} > note; cat note"),
            "It is written.",
            call("echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"),
        ]
        return [*CALLING.encode(turns[min(turn, 2)]), END]

    served.writes = writes
    return served


@pytest.mark.slow
@pytest.mark.skipif(not FOLDER, reason="MUNRO_MINI_SWE_AGENT names no folder of mini-swe-agent")
async def test_mini_swe_agent_in_its_own_box_is_an_episode(tmp_path):
    (tmp_path / "notes.py").write_text(NOTES)
    environment = Agent(
        COMMAND,
        of=str(tmp_path / "notes.py"),
        args={"store": str(tmp_path / "layers")},
        packages=FOLDER,
        environment=QUIET,
    )
    environment.budget = environment.budget.model_copy(update={"start_s": 300.0, "reply_s": 300.0})
    config = RolloutConfig(group_size=2, num_early=2, retries=0, top_p=0.9)
    worker = ProblemWorker(
        policy(),
        {"notes": environment}.__getitem__,
        CALLING,
        config,
        RewardsConfig(),
        seed=1,
        max_context=30_000,
    )
    (task,) = environment.tasks("train")
    group = await worker.solve(0, replace(task, env="notes"), 2000)
    assert isinstance(group, Group), group
    assert [one.grade.passed for one in group.attempts] == [False, True]
    for one in group.attempts:
        told = one.trajectory
        # it forgets a turn that called nothing, and goes on from what was before that
        ((place, after),) = told.forks
        assert told.sampled[after + 1 : place].any()
        assert sum(message.is_sampled for message in told.messages) == 3
        assert [(call.name, call.ok) for call in told.calls] == [("bash", True)] * 2
        assert "Write 42 into the file note." in CALLING.decode(told.token_ids)
