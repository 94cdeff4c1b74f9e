"""Folders of others on a Docker engine: their own recipes, tests in containers of their own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from munro.envs.check import played
from munro.envs.harbor import Harbor
from munro.envs.harbor.errors import BadFolder
from munro.envs.types import Message, Task, ToolCall
from munro.rewards.sandbox import Kind, Limit, Limits
from munro.rewards.sandbox.whole.containers import RootEngine, open_engine
from tests.envs.harbor.folders import SIMPLE, TERMINAL, TOML, but, written
from tests.rewards.sandbox.engine import engine, make_image, why_no_engine

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(why_no_engine()), reason=why_no_engine() or "there is one"),
]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with (
        engine(tmp_path_factory.mktemp("engine")) as address,
        pytest.MonkeyPatch.context() as patch,
    ):
        if address:
            patch.setenv("DOCKER_HOST", address)
        yield make_image(address)


@pytest.fixture(scope="module")
def harbor(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harbor]:
    top = tmp_path_factory.mktemp("tasks")
    recipe = f"FROM {image}\nWORKDIR /app\nCOPY seed.txt /app/\nRUN ln -s seed.txt link\n"
    files = {**but(SIMPLE, "environment/Dockerfile", recipe), "environment/seed.txt": "seed\n"}
    written(top / "answer", files)
    written(top / "hello", but(TERMINAL, "Dockerfile", f"FROM {image}\nWORKDIR /app\n"))
    found = Harbor(str(top), test_share=0.0, backend="docker")
    yield found
    found.close()
    after = open_engine()
    assert not after.client.containers.list(all=True)
    assert not after.client.volumes.list()
    after.close()


def bash(command: str, **more: Any) -> Message:
    arguments = json.dumps({"command": command, **more})
    call = ToolCall(id=command[:8], name="bash", arguments=arguments)
    return Message(role="assistant", content="", tool_calls=(call,))


def task_in(harbor: Harbor, name: str) -> Task:
    return next(task for task in harbor.tasks("train") if task.id == name)


@pytest.mark.parametrize("name", ["answer", "hello"])
def test_gold_passes_and_nothing_does_not(harbor: Harbor, name: str) -> None:
    task = task_in(harbor, name)
    gold = harbor.gold_policy(task)
    assert gold is not None
    done = asyncio.run(played(harbor, task, gold))
    assert done.grade.passed, (done.grade, done.trajectory.messages)
    assert not asyncio.run(played(harbor, task, ["done"])).grade.passed


@pytest.mark.parametrize(
    "command",
    [
        "mkdir -p /logs/verifier; echo '{\"reward\": 1}' > /logs/verifier/reward.json",
        "mkdir -p /x/verifier; echo 1 > /x/verifier/reward.json; ln -s x /logs",
        "mkdir -p /logs /y; echo 1 > /y/reward.json; ln -s ../y /logs/verifier",
        "mkdir /t; printf '#!/bin/sh\\necho 1 > /logs/verifier/reward.txt' > /t/test.sh; "
        "chmod +x /t/test.sh; ln -s t /tests",
        "mkdir -p /logs/verifier; (while :; do echo 1 > /logs/verifier/reward.json; done) &",
    ],
)
def test_what_an_agent_wrote_is_no_reward(harbor: Harbor, command: str) -> None:
    done = asyncio.run(played(harbor, task_in(harbor, "answer"), [bash(command), "done"]))
    assert (done.grade.reward, done.grade.passed) == (0.0, False), done.grade


def test_tools_work_as_in_any_box(harbor: Harbor) -> None:
    def edit(**arguments: object) -> Message:
        call = ToolCall(id="e", name="str_replace_editor", arguments=json.dumps(arguments))
        return Message(role="assistant", content="", tool_calls=(call,))

    turns = [
        bash("cat seed.txt; echo err >&2; pwd; sleep 60 & exit 3"),
        bash("echo begun; sleep 30", wall_s=1),
        edit(command="view", path="."),
        edit(command="create", path="/app/new/answer.txt", file_text="41\n"),
        edit(command="str_replace", path="new/answer.txt", old_str="41", new_str="42"),
        edit(command="view", path="link"),
        bash("mv new/answer.txt ."),
        "done",
    ]
    done = asyncio.run(played(harbor, task_in(harbor, "answer"), turns))
    said = [message.content for message in done.trajectory.messages if message.role == "tool"]
    assert said[0] == "seed\nerr\n/app\n[exit status 3]"
    assert said[1].startswith("begun\n[ended after 1 s")
    assert said[2].split() == ["link", "seed.txt"]
    assert "is a link to '/app/seed.txt'" in said[5]
    assert done.grade.passed, said


def test_a_recipe_that_cannot_be_built_names_its_step(image: str, tmp_path: Path) -> None:
    written(tmp_path / "t", but(SIMPLE, "environment/Dockerfile", f"FROM {image}\nRUN exit 3\n"))
    with pytest.raises(BadFolder, match=r"Dockerfile: Step 2/3 : RUN exit 3") as told:
        Harbor(str(tmp_path / "t"), backend="docker")
    assert "\n" not in str(told.value)
    written(tmp_path / "t", {"task.toml": f"{TOML}docker_image = 'munro/none'\n"})
    with pytest.raises(BadFolder, match="no image 'munro/none': docker pull munro/none"):
        Harbor(str(tmp_path / "t"), backend="docker")


def test_a_session_is_a_machine_of_its_own(image: str) -> None:
    machines: RootEngine = open_engine()
    with machines.session(image, Limits(memory_mb=64, processes=16)) as session:
        assert session.write("a/b", b"1") == ""
        found = session.look("a/b")
        assert found is not None
        assert (found.kind, found.contents, found.mode) == (Kind.FILE, b"1", 0o644)
        assert session.write("a", b"") == "it is no regular file"
        assert session.write("a/b", None) == ""
        assert session.look("a/b") is None
        long = session.run(["sh", "-c", "seq 100000"], limits=Limits(output_bytes=1000), clip=True)
        assert long.left_out > 0
        assert long.stdout.startswith(b"1\n2\n")
        over = session.run(["yes"], limits=Limits(output_bytes=1000))
        assert over.limit is Limit.OUTPUT
        eats = session.run(["sh", "-c", "x=$(yes | head -c 200000000); echo $x"])
        assert eats.status != 0
        assert session.run(["sh", "-c", "echo > /dev/tcp/1.1.1.1/80"]).status != 0
        left = session.commit()
    machines.forget(left)
    machines.close()
