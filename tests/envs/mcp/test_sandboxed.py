"""A server inside the sandbox."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from munro.envs.mcp.errors import BadServer
from munro.envs.mcp.links import inside
from munro.rewards.errors import EnvironmentFailure
from tests.envs.mcp.playing import answers, env_of, turn

FOLDER = str(Path(__file__).parent)


def boxed(*what: str, **more: object) -> dict[str, object]:
    return {
        "command": ["python3", "-I", "-S", "/opt/bad/bad_server.py", *what],
        "sandbox": True,
        "mounts": {FOLDER: "/opt/bad"},
        **more,
    }


def test_it_talks_as_any_other_and_sees_nothing_of_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("MUNRO_SECRET", "hunter2")
    env = env_of(tmp_path, servers={"bad": boxed(env={"GREETING": "hello"})})
    ((one, two, variables), (change,), (fresh,), (read,)) = answers(
        env,
        turn(("echo", {"text": "a"}), ("echo", {"text": "b"}), ("environment", {})),
        turn(("change", {})),
        turn(("fresh", {})),
        turn(("read", {"text": __file__})),
    )
    assert (one.content, two.content) == ("a", "a b")
    assert {"GREETING": "hello"}.items() <= json.loads(variables.content).items()
    assert "MUNRO_SECRET" not in variables.content
    assert "a new tool" in change.content
    assert fresh.content == "I am new"
    assert "No such file" in read.content

    with pytest.raises(EnvironmentFailure, match="it said: I was asked to die"):
        answers(env, turn(("die", {})))
    env = env_of(tmp_path, servers={"bad": boxed(call_s=0.3)})
    with pytest.raises(EnvironmentFailure, match=r"nothing within 0\.3 s"):
        answers(env, turn(("hang", {})))


def test_a_program_that_is_not_there_is_one_sentence(tmp_path):
    env = env_of(tmp_path, servers={"bad": {"command": ["nothing-such"], "sandbox": True}})
    with pytest.raises(BadServer, match=r"'bad' did not start: .*nothing-such"):
        env.tasks("train")
    mounts = {"/nothing/such": "/opt/a"}
    env = env_of(tmp_path, servers={"bad": boxed(mounts=mounts)})
    with pytest.raises(BadServer, match="which is not there"):
        env.tasks("train")


def test_what_runs_inside_needs_nothing_but_python():
    lines = [line for line in Path(inside.__file__).read_text().splitlines() if "import " in line]
    names = [line.split()[1] for line in lines if line.startswith(("import", "from"))]
    assert set(names) - {"__future__"} <= sys.stdlib_module_names
