"""`munro eval`: asks what is missing, keeps it, and refuses what would be no measurement."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from munro.evaluation.results import Results
from munro.evaluation.types import BadResults
from munro.machine.cli.main import munro
from munro.machine.climb import cluster
from munro.machine.evaluating import source
from munro.machine.evaluating.run import Wanted, run_eval
from munro.machine.loading import BadConfig
from tests.distill.runs import make_base
from tests.machine.evaluating.fleet import Answers, fleet_of

SUITE = """
runs = 2

[[entries]]
name = "easy"
env = { path = "arithmetic", args = { digits = 1 } }
tasks = 5

[[entries]]
name = "hard"
env = { path = "arithmetic", args = { digits = 2 } }
tasks = 3
runs = 3

[[entries]]
name = "warm"
env = "arithmetic"
temperature = 0.7
max_tokens = 8
tasks = 3
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_base(tmp_path_factory.mktemp("model") / "base").path


@pytest.fixture
def fleet(monkeypatch):
    """Sets what the next fleets answer; returns the configs that they were started with."""

    def of(answers):
        start, started = fleet_of(answers)
        monkeypatch.setattr(cluster, "start_fleet", start)
        return started

    return of


PLAIN = [("rollout.template", "plain")]


def evaluate(model, out, *more, **asked):
    sizes = {"env": "arithmetic", "tasks": 6, "runs": 4} | asked
    return run_eval(Wanted(model=str(model), out=str(out), **sizes), [*PLAIN, *more])


def test_every_attempt_is_kept_and_told(model, tmp_path, fleet, capsys):
    fleet(Answers())
    assert evaluate(model, tmp_path / "a", k=2) == 0
    said = capsys.readouterr().out
    results = Results(tmp_path / "a")
    rows = results.rows("arithmetic")
    assert len(rows) == 24
    assert rows[0].prompt.startswith("What is ") or rows[0].prompt
    assert {row.seed for row in rows if row.run == 0}.isdisjoint(
        row.seed for row in rows if row.run == 1
    )
    assert "pass@1           0." in said
    assert "pass@2" in said
    assert "brief            0.375" in said
    summary = json.loads((tmp_path / "a" / "results.json").read_text())
    assert summary["whole"]
    assert summary["model"] == str(model)
    found = summary["entries"]["arithmetic"]["figures"]
    assert found["pass_rate"]["low"] < found["pass_rate"]["mean"] < found["pass_rate"]["high"]
    page = (tmp_path / "a" / "page.html").read_text()
    assert "pass_rate" in page
    assert "<script" not in page


def test_interrupted_it_goes_on_with_what_is_missing(model, tmp_path, fleet, monkeypatch, capsys):
    monkeypatch.setattr(source, "WAVE", 8)
    first, second = Answers(dies_after=2), Answers()
    fleet(first)
    with pytest.raises(KeyboardInterrupt):
        evaluate(model, tmp_path / "a")
    assert len(Results(tmp_path / "a").rows()) == 16
    assert not json.loads((tmp_path / "a" / "results.json").read_text())["whole"]
    fleet(second)
    evaluate(model, tmp_path / "a")
    assert len(second.asked) == 8
    assert not set(first.asked) & set(second.asked)
    # what comes of it is what an undisturbed one makes
    fleet(Answers())
    evaluate(model, tmp_path / "b")
    assert Results(tmp_path / "a").rows() == Results(tmp_path / "b").rows()
    # and the same command again starts nothing
    started = fleet(Answers(dies_after=0))
    evaluate(model, tmp_path / "a")
    assert not started


def test_a_task_that_could_not_be_scored_is_no_wrong_one_and_is_tried_again(
    model, tmp_path, fleet, capsys
):
    fleet(Answers(gives_up=[the_first_task(model, tmp_path, fleet)]))
    evaluate(model, tmp_path / "a")
    assert "4 attempts: unscored: PolicyError: no server; the same command" in (
        capsys.readouterr().out
    )
    with pytest.raises(BadResults, match="4 of 24 attempts of arithmetic are missing, 4 of them f"):
        Results(tmp_path / "a").require_whole()
    evaluate(model, tmp_path / "a")
    Results(tmp_path / "a").require_whole()


def the_first_task(model, tmp_path, fleet):
    answers = Answers()
    fleet(answers)
    evaluate(model, tmp_path / "look")
    return answers.asked[0][1]


def test_a_suite_starts_one_fleet_for_what_is_sampled_alike(model, tmp_path, fleet, capsys):
    answers = Answers()
    started = fleet(answers)
    (tmp_path / "release.toml").write_text(SUITE)
    run_eval(
        Wanted(model=str(model), suite=str(tmp_path / "release.toml"), out=f"{tmp_path}/a"), PLAIN
    )
    assert [len(config.env) for config in started] == [2, 1]
    assert {env for env, _, _ in answers.asked} == {"arithmetic", "arithmetic#2"}
    results = Results(tmp_path / "a")
    assert results.entries() == ["easy", "hard", "warm"]
    assert [len(results.rows(entry)) for entry in results.entries()] == [10, 9, 6]
    assert results.asked("warm")["sampling"]["temperature"] == 0.7
    assert results.asked("warm")["sampling"]["max_tokens"] == 8
    said = capsys.readouterr().out
    assert "\nhard\n" in said
    results.require_whole()


def test_another_question_in_the_same_folder_is_refused_with_what_differs(model, tmp_path, fleet):
    fleet(Answers())
    evaluate(model, tmp_path / "a")
    with pytest.raises(BadResults, match=r"entries.arithmetic.tasks: 6 -> 7.*--out"):
        evaluate(model, tmp_path / "a", tasks=7)
    with pytest.raises(BadResults, match=r"sampling.temperature: 1.0 -> 0.5"):
        evaluate(model, tmp_path / "a", ("rollout.temperature", "0.5"))
    other = make_base(tmp_path / "other", kind="munro").path
    with pytest.raises(BadResults, match=r"model.name: .* -> "):
        evaluate(other, tmp_path / "a")


def test_without_a_folder_the_same_command_finds_its_own(model, tmp_path, fleet, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fleet(Answers())
    for sizes in ({}, {}, {"runs": 2}):
        evaluate(model, "", **sizes)
    kept = sorted(path.name for path in (tmp_path / "evals").iterdir())
    assert len(kept) == 2
    assert all("base-arithmetic-" in name for name in kept)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"runs": 0}, "--runs 0: give 1 or more"),
        ({"tasks": 0}, "--tasks 0: give 1 or more"),
        ({"k": 9}, "--k 9 needs at least as many attempts"),
        ({"suite": "x.toml"}, "leave --env out"),
    ],
)
def test_sizes_that_are_none_are_refused(model, tmp_path, asked, told):
    with pytest.raises(BadConfig, match=told):
        evaluate(model, tmp_path / "a", **asked)


def test_runs_at_temperature_zero_are_refused(model, tmp_path):
    with pytest.raises(BadConfig, match=r"rollout.temperature = 0"):
        evaluate(model, tmp_path / "a", ("rollout.temperature", "0"))


JUDGED = """
[[entries]]
env = { path = "arithmetic", graders = { nice = { kind = "judge", args = ARGS } }, reward = "nice" }
"""
FAR = """
[judge.far]
model = "large"
base_url = "https://judges.invalid/v1"
api_key_env = "MUNRO_TEST_NO_KEY"
"""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("runs = 2\nentries = []", r"the suite has no \[\[entries\]\]"),
        ('[[entries]]\nenv = "arithmetic"\n' * 2, "two entries are called 'arithmetic'"),
        (
            '[[entries]]\nname = "arithmetic"\nenv = "digits"\n'
            '[[entries]]\nenv = "munro.envs.arithmetic:Arithmetic"\n',
            "two entries are called arithmetic",
        ),
        ('[[entries]]\nenv = "arithmetic"\ntemperature = 0', "at temperature 0 every run"),
        ('[[entries]]\nname = "a/b"\nenv = "arithmetic"', "entries.name = 'a/b'"),
        ('[[entries]]\nenvs = "arithmetic"', "unknown key entries.envs. Did you mean"),
        (JUDGED.replace("ARGS", '{ ask = "scale", judge = "nobody" }'), "nobody"),
        (JUDGED.replace("ARGS", '{ ask = "scale", judge = "far" }') + FAR, "MUNRO_TEST_NO_KEY"),
    ],
)
def test_a_suite_that_is_none_is_told_before_anything_starts(model, tmp_path, fleet, text, told):
    started = fleet(Answers())
    (tmp_path / "suite.toml").write_text(text)
    asked = Wanted(model=str(model), suite=str(tmp_path / "suite.toml"), out=f"{tmp_path}/a")
    with pytest.raises((BadConfig, ValueError), match=told) as failure:
        run_eval(asked, PLAIN)
    assert type(failure.value).is_sentence
    assert not started


def test_compare_and_gate_from_the_command(model, tmp_path, fleet):
    fleet(Answers())
    for name in "ab":
        evaluate(model, tmp_path / name)
    run = CliRunner().invoke
    said = run(munro, ["eval", "compare", f"{tmp_path}/a", f"{tmp_path}/b"])
    assert said.exit_code == 0, said.output
    assert "difference, paired       +0.000" in said.output
    rules = tmp_path / "rules.toml"
    for bound, status, verdict in ((0.1, 0, "pass"), (0.999, 1, "fail"), (0.8, 3, "cannot tell")):
        rules.write_text(
            f'[[rules]]\nkind = "at_least"\nfigure = "arithmetic/pass_rate"\nbound = {bound}\n'
        )
        said = run(munro, ["eval", "gate", str(rules), f"{tmp_path}/a"])
        assert (said.exit_code, said.output.splitlines()[-1]) == (status, f"verdict: {verdict}")


def test_a_suite_that_is_not_there_is_no_recipe(model, tmp_path):
    with pytest.raises(BadConfig) as caught:
        evaluate(model, tmp_path / "a", env="", tasks=None, runs=None, suite="zzz.toml")
    assert str(caught.value) == "there is no file zzz.toml."
