"""A program in a box is an agent: it finds the policy, and what it leaves is graded."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import psutil
import pytest

from munro.envs.agent import Agent, _filled
from munro.envs.check import check
from munro.envs.config import EnvConfig
from munro.envs.loader import BadEnvironment, load_config, resolve_config
from munro.rollout.types import Abandoned, Group
from tests.envs.harbor.folders import SIMPLE, written
from tests.rollout.address.agents import END, PLAIN, engine, worker

ASK = """
import json, os, sys, urllib.request
body = {"model": sys.argv[2], "messages": [{"role": "user", "content": sys.argv[1]}]}
request = urllib.request.Request(
    os.environ["OPENAI_BASE_URL"] + "/chat/completions",
    json.dumps(body).encode(),
    {"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"]},
)
said = json.load(urllib.request.urlopen(request))["choices"][0]["message"]["content"]
"""


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"question": "What is 17 + 25?", "answer": "42"}) + "\n")
    return {"path": str(path), "test_share": 0.0}


def program(rows, ending, **more):
    command = ["python3", "-c", ASK + ending, "{prompt}", "{model}"]
    made = Agent(command, of="qa", args=rows, **more)
    made.budget = made.budget.model_copy(update={"start_s": 60.0, "reply_s": 60.0})
    return made


def policy():
    served = engine()
    told = "<answer>4{}</answer>"
    served.writes = lambda r: [*PLAIN.encode(told.format(1 + r.key[1] % 2)), END]
    return served


async def played(environment, **config):
    (task,) = environment.tasks("train")
    made = worker(policy(), environment, group_size=2, num_early=2, **config)
    return await made.solve(3, replace(task, env="arithmetic"), 100)


@pytest.mark.parametrize(
    "ending",
    [
        pytest.param("print(said)", marks=pytest.mark.slow),
        "open('answer.txt', 'w').write(said)",
    ],
)
async def test_what_a_program_writes_is_the_reply(rows, ending):
    answer = "answer.txt" if "answer.txt" in ending else ""
    group = await played(program(rows, ending, answer=answer))
    assert isinstance(group, Group), group
    assert [one.grade.passed for one in group.attempts] == [False, True]
    assert [one.trajectory.num_sampled for one in group.attempts] == [
        len("<answer>42</answer>") + 1
    ] * 2
    assert "What is 17 + 25?" in PLAIN.decode(group.attempts[0].trajectory.token_ids)


@pytest.mark.parametrize(
    ("ending", "why"),
    [
        ("sys.exit('oh no')", "python3 ended with 1: oh no"),
        pytest.param(
            "import os; os.kill(os.getpid(), 9)", "python3 ended with 137", marks=pytest.mark.slow
        ),
    ],
)
async def test_a_program_that_breaks_is_not_scored(rows, ending, why):
    given_up = await played(program(rows, ending), retries=0)
    assert isinstance(given_up, Abandoned)
    assert why in given_up.detail
    group = await played(program(rows, f"print(said, flush=True); {ending}", any_status=True))
    assert isinstance(group, Group)
    assert [one.grade.passed for one in group.attempts] == [False, True]


async def test_a_program_that_is_not_there_is_one_line(rows):
    made = Agent(["mini", "-t", "{prompt}"], of="qa", args=rows)
    given_up = await played(made, retries=0)
    assert "mini ended with 127: mini: No such file or directory" in given_up.detail


async def test_a_program_that_hangs_or_leaves_processes_is_ended_with_all_of_its(rows):
    leaves = "import subprocess; subprocess.Popen(['sleep', '4321'], start_new_session=True)\n"
    group = await played(program(rows, leaves + "print(said)"))
    assert isinstance(group, Group)
    made = program(rows, leaves + "import time; time.sleep(1000)")
    made.budget = made.budget.model_copy(update={"reply_s": 0.5})
    given_up = await played(made, retries=0)
    assert "made no request for reply_s = 0.5" in given_up.detail
    while any("4321" in (one.info["cmdline"] or []) for one in psutil.process_iter(["cmdline"])):
        await asyncio.sleep(
            0.01
        )  # killed, and gone in a moment; the test's own time limit is short


@pytest.mark.slow
async def test_a_program_has_no_network_but_the_address_and_no_host_files(rows):
    looks = """
import os, socket
try:
    socket.create_connection(("8.8.8.8", 53), timeout=1)
    seen = "network"
except OSError:
    seen = "home" if os.path.exists("/root/.cache") else "nothing"
assert seen == "nothing", seen
print(said)
"""
    assert isinstance(await played(program(rows, looks)), Group)


ROOM = """
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
        return found is not None and found.contents == b"42"
"""


async def test_in_a_box_of_the_tasks_own_what_is_left_there_is_graded(tmp_path):
    (tmp_path / "notes.py").write_text(ROOM)
    command = ["python3", "-c", ASK + "open('note', 'w').write(said[8:10])", "{prompt}", "{model}"]
    args = {"store": str(tmp_path / "layers")}
    made = Agent(command, of=str(tmp_path / "notes.py"), args=args)
    group = await played(made)
    assert isinstance(group, Group), group
    assert [one.grade.passed for one in group.attempts] == [False, True]
    assert group.task.tools == ()


@pytest.mark.slow
async def test_in_a_folder_of_harbors_its_own_tests_grade_what_is_left(tmp_path):
    folder = written(tmp_path / "tasks" / "simple", SIMPLE)
    ending = "open('/app/answer.txt', 'w').write(said[8:10] + chr(10))"
    command = ["python3", "-c", ASK + ending, "{prompt}", "{model}"]
    args = {"path": str(folder.parent), "store": str(tmp_path / "layers"), "test_share": 0.0}
    group = await played(Agent(command, of="harbor", args=args))
    assert isinstance(group, Group), group
    assert [one.grade.passed for one in group.attempts] == [False, True]


def test_what_fills_a_hole_is_not_read_for_holes():
    values = {"prompt": "say {key} {model}", "key": "k", "model": "m", "base_url": "u"}
    assert _filled("{prompt}|{key}|{other}", values) == "say {key} {model}|k|{other}"


@pytest.mark.parametrize(
    ("args", "why"),
    [
        ({"command": []}, "give a list"),
        ({"command": "mini"}, "give a list"),
        ({"command": ["mini"], "of": "world"}, "played turn by turn"),
        ({"command": ["mini"], "packages": "/nowhere"}, "no such folder"),
        ({"command": ["mini"], "of": "sew"}, "no environment"),
    ],
)
def test_what_is_no_agent_is_one_sentence(rows, args, why):
    args = {"args": rows if "of" not in args else {}} | args
    with pytest.raises(BadEnvironment, match=why):
        load_config(EnvConfig(path="agent", args=args))


def test_the_check_says_that_the_agent_was_not_run(rows):
    found = check("agent", command=["mini"], args=rows)
    assert found.is_ok, found.problems
    assert any("an agent of its own plays it" in line for line in found.warnings)


def test_files_of_the_inner_environment_hold_in_any_folder(rows, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = EnvConfig(path="agent", args={"command": ["x"], "args": {"path": "rows.jsonl"}})
    assert resolve_config(config).args["args"]["path"] == rows["path"]
    assert config.args["args"]["path"] == "rows.jsonl"
