"""A domain by a judge: tried like any other, told what is wrong, and given up in one line."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from munro.envs.worlds.errors import BadWorld
from munro.envs.worlds.making.author import ROUNDS, fault, write_domain
from munro.envs.worlds.spec import HERE
from munro.machine.cli.main import munro
from tests.envs.worlds.till import TOML
from tests.rewards.judges import Reply, ScriptedJudge, config_for, fails, material, says

GOOD = (HERE / "clinic.toml").read_text()
WRONG = GOOD.replace('find = "patient"', 'find = "ghost"', 1)


def test_what_is_wrong_is_said_and_mended():
    with ScriptedJudge(
        [says(toml="about = 7 and much more"), says(toml=WRONG), says(toml=GOOD)]
    ) as server:
        assert write_domain("A clinic.", config_for(server.url), "author") == GOOD
    first, second, third = server.requests
    assert material(first, "WISH") == "A clinic."
    assert "[tools.book_room]" in material(first, "SAMPLE")
    assert "is no TOML" in material(second, "WRONG")
    assert "no table 'ghost'" in material(third, "WRONG")
    assert 'find = "ghost"' in material(third, "DRAFT")


def test_a_judge_that_never_gets_it_right_is_one_line():
    with ScriptedJudge([says(toml=WRONG)]) as server:
        with pytest.raises(BadWorld, match=f"in {ROUNDS} rounds.*no table 'ghost'") as caught:
            write_domain("A clinic.", config_for(server.url), "author")
        assert "\n" not in str(caught.value)
        assert len(server.requests) == ROUNDS


@pytest.mark.parametrize(
    "reply", [Reply("no"), fails(500), Reply(None), says(toml="short"), says(code="import os")]
)
def test_a_judge_without_an_answer_is_one_line(reply):
    with (
        ScriptedJudge([reply]) as server,
        pytest.raises(BadWorld, match="judge 'author' wrote no domain"),
    ):
        write_domain("A clinic.", config_for(server.url, retries=0), "author")


def test_what_a_domain_needs():
    assert fault(GOOD) == ""
    assert "contradicts" in fault(
        GOOD.replace('forbids = "appointment.urgent"', 'forbids = "appointment.hour > 90"')
    )
    assert "needs 2 tables" in fault(TOML.split("[[rules]]")[0])
    assert fault("") != ""


@pytest.mark.parametrize("wish", ["", " ", "x" * 5000])
def test_a_wish_must_be_one(wish):
    with pytest.raises(BadWorld, match="--from"):
        write_domain(wish, config_for("http://127.0.0.1:9/v1"), "author")


def test_the_command_writes_the_domain_and_its_tasks(tmp_path):
    out = tmp_path / "tasks"
    with ScriptedJudge([says(toml=GOOD)]) as server:
        recipe = tmp_path / "recipe.toml"
        recipe.write_text(
            'num_steps = 1\nenv = { path = "arithmetic" }\n'
            f'[judge.author]\nmodel = "scripted"\nbase_url = "{server.url}"\ncache = ""\n'
        )
        words = ["world", "build", "--out", str(out), "--tasks", "12", "--from", "A clinic."]
        done = CliRunner().invoke(
            munro, [*words, "--author", "judge:author", "--config", str(recipe)]
        )
        assert done.exit_code == 0, repr(done.exception)
    assert (tmp_path / "tasks.toml").read_text() == GOOD
    assert (out / "tasks.jsonl").read_text().count("\n") == 12
    for more, said in (
        (["--author", "judge:nobody", "--config", str(recipe)], "is there already"),
        (["--author", "nobody", "--config", str(recipe)], "goes with"),
        (["--author", "judge:author"], "goes with"),
    ):
        assert said in CliRunner().invoke(munro, [*words, *more]).output
