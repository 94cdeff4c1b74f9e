"""Servers in this process."""

from __future__ import annotations

import pytest

from munro.envs.loader import BadEnvironment, load
from munro.envs.mcp.errors import BadServer
from munro.rewards.errors import EnvironmentFailure
from tests.envs.mcp.playing import answers, called, env_of, rows_in, turn

HERE = "tests.envs.mcp.objects"


def test_a_function_makes_one_for_each_episode(tmp_path):
    env = env_of(tmp_path, servers={"a": {"object": f"{HERE}:counter"}})
    for _ in range(2):
        ((one, two),) = answers(env, turn(("count", {}), ("count", {})))
        assert (one.content, two.content) == ("1", "2")


def test_a_tool_that_raises_is_an_observation_and_one_that_hangs_is_not(tmp_path):
    env = env_of(tmp_path, servers={"a": {"object": f"{HERE}:counter"}})
    ((fail, both),) = answers(env, turn(("fail", {}), ("both", {})))
    assert "fail" in fail.error
    assert both.content.split() == ["{", '"a":', "1", "}"]  # once, not again as structure
    env = env_of(tmp_path, servers={"a": {"object": f"{HERE}:counter", "call_s": 0.2}})
    with pytest.raises(EnvironmentFailure, match=r"nothing within 0\.2 s"):
        called(env, "sleep")


def test_calls_that_only_read_run_at_once_and_are_answered_in_order(tmp_path):
    env = env_of(tmp_path, servers={"a": {"object": f"{HERE}:counter"}})
    calls = [("count", {}), ("meet", {}), ("meet", {}), ("meet", {}), ("count", {})]
    ((first, *met, last),) = answers(env, turn(*calls))
    assert (first.content, last.content) == ("1", "2")
    assert sorted(one.content for one in met) == ["0", "1", "2"]
    assert [one.tool_call_id for one in met] == ["call1", "call2", "call3"]


def test_a_server_without_a_handshake_is_spoken_to_without_one(tmp_path):
    env = env_of(tmp_path, servers={"a": {"object": f"{HERE}:modern"}})
    ((grow,), (late,)) = answers(env, turn(("grow", {})), turn(("late", {})))
    assert grow.content.startswith("grown")
    assert late.content.startswith("here")
    # it is told in its own time: with the answer, or with the next one
    assert (grow.content + late.content).count("(a new tool: ") == 1


@pytest.mark.parametrize(
    ("named", "said"),
    [
        (f"{HERE}:counte", "Did you mean 'counter'"),
        (f"{HERE}:NUMBER", "NUMBER is no MCP server"),
        ("tests.envs.mcp.nowhere:a", "There is no module"),
        ("./nowhere.py:a", "There is no file"),
        ("counter", "write module:object"),
        (f"{HERE}:ONE", "one server for all episodes: .*shared = true"),
    ],
)
def test_what_is_no_server_is_said_when_it_is_loaded(tmp_path, named, said):
    with pytest.raises(BadServer, match=said):
        env_of(tmp_path, servers={"a": {"object": named}})


@pytest.mark.parametrize(("named", "said"), [("nothing", "made 7"), ("raises", "OSError: no disk")])
def test_a_function_that_makes_none_is_one_sentence(tmp_path, named, said):
    env = env_of(tmp_path, servers={"a": {"object": f"{HERE}:{named}"}})
    with pytest.raises(BadServer, match=said):
        env.tasks("train")


def test_one_that_is_there_may_be_shared(tmp_path):
    env = env_of(tmp_path, servers={"a": {"object": f"{HERE}:ONE", "shared": True}})
    first = int(called(env, "count").content)
    assert int(called(env, "count").content) == first + 1


@pytest.mark.parametrize(
    ("server", "said"),
    [
        ({}, "none of command, url and object"),
        ({"command": ["true"], "url": "http://a/"}, "command and url"),
        ({"command": ["true"], "shard": True}, "no key 'shard'. Did you mean 'shared'"),
        ({"url": "http://a/", "env": {"A": "b"}}, "env belongs to servers by command"),
        ({"command": ["true"], "packages": ["/tmp"]}, "for sandbox = true"),
        ({"command": ["true"], "shared": True, "reset_tool": "r"}, "shared = true goes with"),
        ("a text", "valid dictionary"),
        ({"command": "munro world serve"}, "valid list"),
    ],
)
def test_a_table_that_says_too_little_or_too_much(tmp_path, server, said):
    with pytest.raises(BadServer, match=said) as caught:
        env_of(tmp_path, servers={"a": server})
    assert str(caught.value).startswith("servers.a")


def test_the_loader_says_it_in_one_line_too(tmp_path):
    with pytest.raises(BadEnvironment, match="needs a server"):
        load("mcp", path=rows_in(tmp_path), servers={})
    with pytest.raises(BadEnvironment, match="may hold up to 32 letters"):
        load("mcp", path=rows_in(tmp_path), servers={"a b": {"command": ["true"]}})
