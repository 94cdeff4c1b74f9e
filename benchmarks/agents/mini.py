"""mini-swe-agent, as it comes from its wheel, as an environment: its loop, its model, our box.

    [env]
    path = "benchmarks/agents/mini.py"
    args = { packages = "FOLDER" }          pip install --target FOLDER mini-swe-agent==2.4.6

The agent is asked twice for four digits out of some (the tasks of `digits`). What it takes for a
command in the policy's text is run in a box of its own; the box's program asks again, and the
second time it submits. Right is an attempt in which both answers are.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

from munro.envs import Address, AgentRun, Grade, Task, load
from munro.rewards import sandbox
from munro.rewards.sandbox import Image, Limits, Sandbox, Session

PROGRAM = """#!/bin/sh
echo "$1" >> said
if [ $(wc -l < said) -ge 2 ]; then echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT; fi
cat said
"""
TOLD = "{{output.output}}"
REFUSED = "No digits."


class Mini(AgentRun):
    """mini-swe-agent at the tasks of `digits`, asked twice."""

    file_args: ClassVar[tuple[str, ...]] = ("packages",)
    budget = AgentRun.budget.model_copy(update={"turns": 8, "start_s": 300.0, "reply_s": 300.0})

    def __init__(self, packages: str = "") -> None:
        """
        Args:
            packages: folder that mini-swe-agent was installed in; empty where it can be imported.
        """
        os.environ["MSWEA_SILENT_STARTUP"] = "1"
        os.environ["MSWEA_MODEL_RETRY_STOP_AFTER_ATTEMPT"] = "1"
        os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it would ask the network at import
        if packages and packages not in sys.path:
            sys.path.append(packages)
        if packages and not (Path(packages) / "minisweagent").is_dir():
            raise ValueError(
                f"packages = {packages!r} holds no mini-swe-agent: "
                f"pip install --target {packages} mini-swe-agent==2.4.6"
            )
        self._digits = load("digits")
        self._opening = threading.Lock()
        self._sandbox: Sandbox | None = None

    def tasks(self, split: str) -> Iterable[Task]:
        """Those of `digits`."""
        return self._digits.tasks(split)

    def run(self, task: Task, address: Address) -> Grade:
        """mini-swe-agent's own loop, in a thread."""
        from minisweagent.agents.default import DefaultAgent
        from minisweagent.models.litellm_textbased_model import LitellmTextbasedModel

        model = LitellmTextbasedModel(
            model_name=f"openai/{address.model}",
            model_kwargs={"api_base": address.base_url, "api_key": address.key, "temperature": 0.0},
            action_regex=r"([0-9]+)",
            observation_template=f"{TOLD}{task.prompt}",
            format_error_template=f"{REFUSED}\n{task.prompt}",
            cost_tracking="ignore_errors",
        )
        with self._boxes().session(image=Image(), files={"answer": PROGRAM}) as session:
            agent = DefaultAgent(
                model, Box(session), system_template="", instance_template="{{task}}", step_limit=8
            )
            said = str(agent.run(task.prompt).get("submission", "")).split()
        right = [self._digits.grade(task, answer).solved for answer in said]
        return Grade.of(len(right) == 2 and all(right), reason=" ".join(said)[:80])

    def _boxes(self) -> Sandbox:
        with self._opening:
            if self._sandbox is None:
                self._sandbox = sandbox.open("namespaces", Limits(wall_s=30))
            return self._sandbox


class Box:
    """An environment of mini-swe-agent's that runs commands in a box."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def execute(self, action: dict[str, Any]) -> dict[str, Any]:
        """What the box's program says to the policy's digits; raises once it submits."""
        from minisweagent.environments.local import LocalEnvironment

        done = self._session.run(["sh", "answer", action["command"]], clip=True)
        output = {
            "output": done.stdout.decode(errors="replace"),
            "returncode": done.status,
            "exception_info": "",
        }
        LocalEnvironment()._check_finished(output)
        return output

    def get_template_vars(self, **more: Any) -> dict[str, Any]:
        """Nothing of the machine."""
        return more

    def serialize(self) -> dict[str, Any]:
        """Nothing to tell."""
        return {}
