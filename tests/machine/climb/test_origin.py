"""What a checkpoint was climbed on is taken from it, unless told otherwise."""

from __future__ import annotations

import json

import pytest

from munro.machine.climb.origin import as_climbed, as_recorded, evaluated, origin_of
from munro.machine.climb.start import raw
from munro.machine.loading import BadConfig, check
from munro.machine.run.folder import RunFolder
from munro.rl.state import ClimbState

SIZES = {"num_tasks": 7, "runs": 2}
CLIMB = {
    "num_steps": 9,
    "name": "sums",
    "seed": 5,
    "env": {"path": "arithmetic", "args": {"digits": 3, "operators": "+"}},
    "rollout": {"template": "plain", "engine": "transformers", "servers": 3, "top_p": 0.9},
    "length": {"stages": [40, 80]},
}


def climbed(folder, *, stage=0, began_from="base", told=True, **changes):
    """A checkpoint folder, as far as its provenance goes."""
    config = check(CLIMB | changes, source="test")
    state = ClimbState.first(config.clip)
    plain = json.loads(state.to_json()) | {"stage": stage}
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer_config.json"):
        (folder / name).write_text("{}")
    provenance = {
        "run": config.name,
        "step": 4,
        "began_from": began_from,
        "climb_state": json.dumps(plain),
        "config": as_recorded(config),
    }
    (folder / "provenance.json").write_text(json.dumps(provenance if told else {"base": {}}))
    return folder


def evaluate(folder, env="", *overrides):
    return evaluated(origin_of(folder), folder, env, SIZES, overrides)


@pytest.mark.parametrize("env", ["", "arithmetic"])
def test_an_evaluation_takes_tasks_template_and_sampling_from_the_climb(tmp_path, env):
    config, said = evaluate(climbed(tmp_path / "ckpt", stage=1), env)
    (of,) = config.env
    assert (of.path, of.args) == ("arithmetic", {"digits": 3, "operators": "+"})
    assert (config.rollout.template, config.rollout.engine) == ("plain", "transformers")
    assert (config.rollout.top_p, config.seed, config.length.stages) == (0.9, 5, (80,))
    assert (config.eval.num_tasks, config.eval.runs, config.rollout.servers) == (7, 2, 1)
    assert said == [
        "arithmetic (digits = 3, operators = +); template plain; at most 80 tokens",
    ]


def test_what_is_told_otherwise_holds_and_is_said(tmp_path):
    folder = climbed(tmp_path / "ckpt")
    config, said = evaluate(
        folder, "arithmetic", ("env.args.digits", "2"), ("rollout.template", "chat")
    )
    assert config.env[0].args == {"digits": 2, "operators": "+"}
    assert config.rollout.template == "chat"
    assert [line for line in said if line.startswith("not as sums at step 4: ")] == said[1:]
    assert 'rollout.template: "plain" -> "chat"' in said[-1] + said[1]
    assert any('"digits": 3' in line and '"digits": 2' in line for line in said)


def test_another_environment_is_taken_bare_in_the_same_template(tmp_path):
    config, said = evaluate(climbed(tmp_path / "ckpt"), "reasoning_gym", ("env.args.name", "x"))
    assert [(of.path, of.args) for of in config.env] == [("reasoning_gym", {"name": "x"})]
    assert config.rollout.template == "plain"
    assert any(line.startswith("not as sums at step 4: env") for line in said)


def test_one_of_several_environments_is_no_difference(tmp_path):
    several = [{"path": "arithmetic", "args": {"digits": 1}}, {"path": "expressions"}]
    config, said = evaluate(climbed(tmp_path / "ckpt", env=several), "arithmetic")
    assert [of.args for of in config.env] == [{"digits": 1}]
    assert len(said) == 1
    config, _ = evaluate(tmp_path / "ckpt")
    assert [of.path for of in config.env] == ["arithmetic", "expressions"]


def test_a_checkpoint_that_does_not_say_needs_an_environment(tmp_path):
    folder = climbed(tmp_path / "ckpt", told=False)
    assert origin_of(folder) is None
    with pytest.raises(BadConfig, match="does not say what it was climbed on: name an --env"):
        evaluate(folder)
    config, said = evaluate(folder, "arithmetic")
    assert config.rollout.template == "chat"
    assert said == ["template chat, arithmetic: the checkpoint does not say what it was climbed on"]


def test_a_distillation_may_have_changed_the_template(tmp_path):
    after = {"distill": {"template": "r1_zero"}}
    before = climbed(tmp_path / "before", **after)
    behind = climbed(tmp_path / "after", began_from="runs/sums/distilled/step-000002", **after)
    assert origin_of(before).template == "plain"
    assert origin_of(behind).template == "r1_zero"


def recipe(folder, **rollout):
    return check(
        {"num_steps": 3, "env": "arithmetic", "model": {"path": str(folder)}, "rollout": rollout},
        source="test",
    )


def test_a_climb_begins_in_the_template_of_its_checkpoint_unless_its_recipe_names_one(tmp_path):
    folder, said = climbed(tmp_path / "ckpt"), []
    assert as_climbed(recipe(folder), None, said.append).rollout.template == "plain"
    assert said == [f'rollout.template = "plain", as {folder} was climbed in']
    said.clear()
    assert as_climbed(recipe(folder, template="chat"), None, said.append).rollout.template == "chat"
    assert said == [f'rollout.template = "chat", but {folder} was climbed in "plain"']


def test_a_run_that_was_begun_goes_on_in_its_own(tmp_path):
    folder, said = climbed(tmp_path / "ckpt"), []
    run = RunFolder(tmp_path / "run")
    run.begin(raw(recipe(folder)), seed=0, provenance={})
    assert as_climbed(recipe(folder), run, said.append).rollout.template == "chat"
    assert said == []


def test_the_record_is_readable_from_another_folder(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "from munro.envs import Grade, SingleTurn, Task\n\n\nclass Mine(SingleTurn):\n"
        "    def tasks(self, split):\n        return [Task(id='1', prompt='?')]\n\n"
        "    def grade(self, task, reply):\n        return Grade.of(True)\n"
    )
    monkeypatch.chdir(tmp_path)
    folder = climbed(tmp_path / "ckpt", env="mine.py:Mine")
    assert evaluate(folder, "./mine.py:Mine")[0].env[0].path == f"{tmp_path}/mine.py:Mine"
    monkeypatch.chdir("/")
    assert evaluate(folder)[0].env[0].path == f"{tmp_path}/mine.py:Mine"


THINKS = "{{ messages }}{% if enable_thinking is false %}<think></think>{% endif %}"


def thinking(folder, **rollout):
    """A checkpoint that was climbed on without thoughts."""
    told = {"template": "chat", "template_args": {"enable_thinking": False}}
    climbed(folder, rollout=told | rollout)
    (folder / "chat_template.jinja").write_text(THINKS)
    return folder


def test_what_the_template_was_told_is_taken_with_it(tmp_path):
    folder, said = thinking(tmp_path / "ckpt"), []
    told = {"enable_thinking": False}
    assert as_climbed(recipe(folder), None, said.append).rollout.template_args == told
    assert said == [f"rollout.template_args = {told}, as {folder} was climbed with"]
    mine = {"enable_thinking": True}
    assert as_climbed(recipe(folder, template_args=mine), None, print).rollout.template_args == mine
    assert evaluate(folder)[0].rollout.template_args == told
    plain = evaluate(folder, "", ("rollout.template", "plain"))[0].rollout
    assert (plain.template, plain.template_args) == ("plain", {})


def test_what_the_models_template_does_not_use_is_refused_before_anything_starts(tmp_path):
    folder = thinking(tmp_path / "ckpt")
    asked = recipe(folder, template_args={"thinking": False})
    with pytest.raises(BadConfig, match=r"template_args\.thinking: .*it takes enable_thinking\."):
        as_climbed(asked, None, print)
    with pytest.raises(BadConfig, match=r"template_args\.thinking"):
        evaluate(folder, "", ("rollout.template_args.thinking", "false"))
    plain = climbed(tmp_path / "plain")
    with pytest.raises(BadConfig, match='was climbed in "plain"'):
        as_climbed(recipe(plain, template_args={"enable_thinking": False}), None, print)
