"""Names of images: what they stand for, and what is said where they stand for nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from munro.envs import BadEnvironment, Message, Task, ToolCall, load
from munro.envs.check import played
from munro.machine.cli.main import munro
from munro.rewards import sandbox
from munro.rewards.errors import SandboxError
from munro.rewards.sandbox import Image, layer_of
from munro.rewards.sandbox.image import forget_layer
from munro.rewards.sandbox.named import keep_image, named_image

ENVIRONMENT = """
from munro.envs import Task
from munro.envs.shell import Shell


class Named(Shell):
    def tasks(self, split):
        return [Task(id="one", prompt="Write 42 into the file answer.")]

    def grade(self, task, reply, state):
        return state["box"].session.run(["grep", "-qx", "42", "answer"]).is_ok
"""


def test_a_name_is_its_image(tmp_path: Path) -> None:
    image = Image(
        layers=(layer_of({"x": "1"}, tmp_path),), packages=(layer_of({"m.py": "V = 2"}, tmp_path),)
    )
    keep_image("tools", image, tmp_path)
    assert named_image("tools", tmp_path) == image
    with sandbox.open("namespaces", store=tmp_path) as box:
        with box.session(image="tools") as session:
            said = session.run(["python3", "-c", "import m; print(m.V, open('x').read())"])
            assert said.stdout == b"2 1\n"
        with (
            pytest.raises(ValueError, match=r"no image 'tool' in .*, there is tools: munro env"),
            box.session(image="tool"),
        ):
            pass
    keep_image("tools", Image(is_root=True), tmp_path)
    assert named_image("tools", tmp_path) == Image(is_root=True)


def test_what_stands_for_nothing_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no name of an image"):
        keep_image("../x", Image(), tmp_path)
    layer = layer_of({"x": "1"}, tmp_path)
    keep_image("gone", Image(layers=(layer,)), tmp_path)
    forget_layer(layer)
    with pytest.raises(SandboxError, match="build its image again"):
        named_image("gone", tmp_path)
    with (
        sandbox.open("namespaces") as box,
        pytest.raises(ValueError, match="open the sandbox with store="),
        box.session(image="gone"),
    ):
        pass


async def test_an_environment_names_it(tmp_path: Path) -> None:
    source = tmp_path / "named.py"
    source.write_text(ENVIRONMENT)
    store, folder = str(tmp_path / "store"), tmp_path / "folder"
    folder.mkdir()
    (folder / "seed").write_text("42\n")
    made = CliRunner().invoke(munro, ["env", "image", "seeded", str(folder), "--store", store])
    assert (made.exit_code, made.output) == (0, f"seeded: 1 layers in {store}\n")
    found = load(str(source), store=store, image="seeded")
    call = ToolCall(id="1", name="bash", arguments=json.dumps({"command": "cp seed answer"}))
    turn = Message(role="assistant", content="", tool_calls=(call,))
    (task,) = found.tasks("train")
    assert isinstance(task, Task)
    assert (await played(found, task, [turn, "done"])).grade.passed
    with pytest.raises(BadEnvironment, match="there is no image 'other'"):
        load(str(source), store=store, image="other")
    with pytest.raises(BadEnvironment, match="has no image: name one by image = 'NAME'"):
        load(str(source), store=store)


def test_a_recipe_is_a_root(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/Dockerfile").write_text("FROM debian\nWORKDIR /app\nRUN echo 1 > made\n")
    store = str(tmp_path / "store")
    command = ["env", "image", "app", str(tmp_path / "in/Dockerfile"), "--store", store]
    assert CliRunner().invoke(munro, command).exit_code == 0
    with (
        sandbox.open("namespaces", store=store) as box,
        box.session(image="app") as session,
    ):
        assert session.run(["cat", "/app/made"]).stdout == b"1\n"
    (tmp_path / "in/Dockerfile").write_text("FROM node\n")
    wrong = CliRunner().invoke(munro, command)
    assert "line 1, 'FROM node': this machine cannot stand for" in str(wrong.exception)
    none = CliRunner().invoke(munro, ["env", "image", "x", str(tmp_path / "no"), "--store", store])
    assert "is no folder" in str(none.exception)
