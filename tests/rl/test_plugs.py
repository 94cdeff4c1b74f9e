"""A loss, an advantage and a curriculum of anybody's, by name, path and entry point."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from munro.machine.climb.dry_run import _besides, plan
from munro.machine.config import RunConfig
from munro.machine.loading import load
from munro.rewards.plugins import BadPlugin, PluginNotFound
from munro.rl import plugs
from munro.rl.advantage import group_relative
from munro.rl.batch import build_batch
from munro.rl.clip import Clip
from munro.rl.config import LearnerConfig, LengthConfig
from munro.rl.curriculum import next_stage
from munro.rl.learner import Learner
from munro.rl.loss import policy_loss
from tests.builders import make_group
from tests.rl.builders import random_group, save_model
from tests.rl.plugged import install, write_file

CONFIG = LearnerConfig(threads=1, token_budget=128)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", [*sys.path])
    return write_file(tmp_path)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(install(tmp_path / "site"))
    monkeypatch.delitem(sys.modules, "halves", raising=False)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_model(tmp_path_factory.mktemp("plugs") / "model")


def test_ours_have_names_and_the_public_ones_are_the_defaults():
    assert {"policy", "cispo", "dapo", "dr_grpo", "gspo"} <= set(plugs.LOSS.registry.names())
    assert {"group_relative", "dr_grpo", "rloo"} <= set(plugs.ADVANTAGE.registry.names())
    assert {"stages", "schedule"} <= set(plugs.CURRICULUM.registry.names())
    assert plugs.LOSS.find(CONFIG.loss) is policy_loss
    assert plugs.ADVANTAGE.find(CONFIG.advantage) is group_relative
    assert plugs.CURRICULUM.find(LengthConfig().curriculum) is next_stage


def step(model: str, **changes: str) -> dict[str, float]:
    """The first step's figures."""
    rng = np.random.default_rng(0)
    batch = build_batch([random_group(rng, index=index) for index in range(3)])
    learner = Learner(model, CONFIG.model_copy(update=changes), seed=0)
    return dict(learner.step(batch, clip=Clip()).metrics)


def assert_half(found: dict[str, float], usual: dict[str, float]) -> None:
    assert found.pop("mine/tokens") == 1.0
    assert found.keys() == usual.keys()
    assert found["learner/loss"] == pytest.approx(usual["learner/loss"] / 2, rel=1e-5)
    assert found["learner/grad_norm"] == pytest.approx(usual["learner/grad_norm"] / 2, rel=1e-5)
    for name in ("policy/entropy", "ratio/max", "clip/high"):
        assert found[name] == usual[name]


def test_a_loss_in_a_file_trains_and_the_usual_figures_are_there(mine, model, monkeypatch):
    usual = step(model)
    assert_half(step(model, loss=f"{mine}:my_loss"), usual)
    monkeypatch.chdir(mine.parent)
    config = plugs.resolved(CONFIG.model_copy(update={"loss": "./mine.py:my_loss"}))
    monkeypatch.chdir("/")
    assert config.loss == f"{mine}:my_loss"
    assert_half(step(model, loss=config.loss), usual)


@pytest.mark.usefixtures("installed")
def test_a_loss_of_an_installed_package_trains(model):
    assert_half(step(model, loss="half"), step(model))


@pytest.mark.parametrize("loss", ["cispo", "dapo", "dr_grpo", "gspo"])
def test_our_other_losses_train(model, loss):
    found, usual = step(model, loss=loss), step(model)
    assert found.keys() == usual.keys()
    assert found["learner/grad_norm"] > 0
    assert found["policy/entropy"] == usual["policy/entropy"]


@pytest.mark.usefixtures("installed")
def test_advantages_and_curricula_by_path_and_by_entry_point(mine):
    group = make_group(1, 0, 0)
    for name in (f"{mine}:my_advantage", "triple"):
        advantage = plugs.advantage_of(CONFIG.model_copy(update={"advantage": name}))
        assert advantage(group) == pytest.approx([3 * value for value in group_relative(group)])
        (bundle,) = build_batch([group], advantage).bundles
        assert bundle.sequences[0].advantage == advantage(group)[0]
    for name in (f"{mine}:my_curriculum", "jump"):
        length = LengthConfig(stages=(1, 2, 3), curriculum=name)
        assert plugs.next_stage(0, [], length) == 2


def test_eps_goes_to_an_advantage_that_names_it():
    group = make_group(1, 0)
    advantage = plugs.advantage_of(CONFIG.model_copy(update={"advantage_eps": 0.5}))
    assert advantage(group) == [0.5, -0.5]


RECIPE = """
num_steps = 1
env = "arithmetic"
learner.loss = "./mine.py:{loss}"
"""
WRONG = {
    "loss": (
        "def f(logp_T, advantage_T): ...",
        r"learner\.loss = '.*:f': f\(logp_T, advantage_T\) does not take what a loss is given "
        r".*called with \(logp_T, behaviour_logp_T, .*sequence_T",
    ),
    "advantage": (
        "def f(group, weights): ...",
        r"learner\.advantage = .*missing a required argument: 'weights'",
    ),
    "curriculum": ("def f(stage): ...", r"length\.curriculum = .*too many positional arguments"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_signature_is_told_before_anything_starts(tmp_path, kind):
    source, message = WRONG[kind]
    file = tmp_path / f"wrong_{kind}.py"
    file.write_text(source)
    section = "length" if kind == "curriculum" else "learner"
    config = RunConfig.model_validate(
        {"num_steps": 1, "env": "arithmetic", section: {kind: f"{file}:f"}}
    )
    with pytest.raises(BadPlugin, match=message) as refused:
        plan(config)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("polcy", r"There is no loss 'polcy'\. Did you mean 'policy'\?"),
        ("report", r"There is no loss 'report' here: the report's is policy\."),
        ("GRPO", r"There is no loss 'GRPO' here: policy is GRPO's with a bound in every branch"),
        ("./nowhere.py:f", r"There is no file .*nowhere\.py \(loss"),
        ("munro.rl.clip:Clip", "Clip is no loss"),
    ],
)
def test_what_is_not_there_is_told(path, message):
    with pytest.raises(BadPlugin, match=message):
        plugs.LOSS.find(path)
    assert issubclass(PluginNotFound, BadPlugin)


GIVEN = "logp_T, behaviour_logp_T, advantage_T, sampled_T, *, clip, num_global_tokens"
LOSS_SUM = "-(logp_T * advantage_T).sum() / num_global_tokens"
BROKEN = {
    "NaN": (f"{LOSS_SUM} * float('nan'), {{}}", "returned nan for six tokens whose .* are finite"),
    "infinite": (f"{LOSS_SUM} / 0, {{}}", "returned -?inf for six tokens"),
    "two numbers": (f"{LOSS_SUM}, {LOSS_SUM}", r"returned a Tensor of shape \[\] as the figures"),
    "three values": (f"{LOSS_SUM}, {{}}, 1", "returned 3 values: it must return one number"),
    "a loss alone": (LOSS_SUM, r"returned a Tensor of shape \[\] alone"),
    "nothing": ("None", "returned a NoneType alone"),
    "one a token": ("-logp_T * advantage_T, {}", r"returned a Tensor of shape \[6\] as the loss"),
    "a float": (f"float(({LOSS_SUM}).detach()), {{}}", "returned a float as the loss"),
    "no gradient": ("-(logp_T.detach() * advantage_T).sum(), {}", "returned a loss without grad"),
    "another gradient": ("advantage_T.sum().requires_grad_(), {}", "gives logp_T no gradient"),
    "a wide figure": (f"{LOSS_SUM}, {{'x': logp_T}}", r"shape \[6\] as the figure 'x'"),
    "a failure": ("1 / 0, {}", r"cannot be used: ZeroDivisionError: .*broken\.py:2"),
    "a wrong shape": ("logp_T @ torch.ones(5), {}", r"cannot be used: .*Error: .*broken\.py:2"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_loss_that_returns_no_loss_is_told_before_anything_starts(tmp_path, kind):
    returned, message = BROKEN[kind]
    file = tmp_path / "broken.py"
    file.write_text(f"def f({GIVEN}):\n    import torch; return {returned}\n")
    config = RunConfig.model_validate(
        {"num_steps": 1, "env": "arithmetic", "learner": {"loss": str(file)}}
    )
    with pytest.raises(BadPlugin, match=rf"learner\.loss = '.*broken\.py'.*{message}") as refused:
        plan(config)
    assert "\n" not in str(refused.value)


def test_a_loss_that_turns_to_nan_later_ends_the_step_and_is_named(tmp_path, model):
    """What the trial's six tokens do not show; the weights are as before."""
    file = tmp_path / "later.py"
    file.write_text(
        f"def f({GIVEN}):\n    scale = float('nan') if len(logp_T) > 6 else 1.0\n"
        f"    return scale * {LOSS_SUM}, {{}}\n"
    )
    config = CONFIG.model_copy(update={"loss": str(file)})
    plugs.check_plugs(RunConfig.model_validate({"num_steps": 1, "env": "arithmetic",
                                                "learner": {"loss": str(file)}}))  # fmt: skip
    learner = Learner(model, config, seed=0)
    before = [p.detach().clone() for p in learner._policy.parameters()]
    batch = build_batch([random_group(np.random.default_rng(0))])
    with pytest.raises(BadPlugin, match=r"optimizer step 1: learner\.loss = .*later\.py.* nan"):
        learner.step(batch, clip=Clip())
    for parameter, was in zip(learner._policy.parameters(), before, strict=True):
        assert (parameter == was).all()


def test_what_others_call_an_advantage_is_answered_with_ours():
    with pytest.raises(
        PluginNotFound, match=r"no advantage 'none' here: dr_grpo divides by nothing"
    ):
        plugs.ADVANTAGE.find("none")


def test_a_dry_run_says_what_a_climb_would_not_do_by_itself():
    learner = {"kl_weight": 0.01, "schedule": {"shape": "linear", "warmup_steps": 3, "final": 0.1}}
    said = _besides(LearnerConfig.model_validate(learner), 20)
    assert said.strip() == (
        "3 steps of warm-up, rate linear down to 1e-07 at step 20, KL to the model it begins from, "
        "times 0.01"
    )
    assert _besides(LearnerConfig(), 20) == ""


def test_a_recipe_names_a_file_beside_it(mine, tmp_path, monkeypatch):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE.format(loss="my_loss"))
    monkeypatch.chdir(tmp_path)
    config = load(str(recipe))
    plugs.check_plugs(config)
    assert plugs.Loss.of(config.learner.loss).function.__name__ == "my_loss"
    recipe.write_text(RECIPE.format(loss="my_lost"))
    with pytest.raises(PluginNotFound, match="Did you mean 'my_loss'"):
        plugs.check_plugs(load(str(recipe)))


@pytest.mark.parametrize("returned", ["[1.0]", "[float('nan')] * 3"])
def test_an_advantage_that_returns_something_else_is_told(tmp_path, returned):
    file = tmp_path / "short.py"
    file.write_text(f"def short(group):\n    return {returned}\n")
    advantage = plugs.advantage_of(CONFIG.model_copy(update={"advantage": str(file)}))
    with pytest.raises(BadPlugin, match=r"for the 3 attempts at task .* one finite number"):
        advantage(make_group(1, 0, 0))


def test_a_curriculum_that_leaves_the_stages_is_told(tmp_path):
    file = tmp_path / "beyond.py"
    file.write_text("def beyond(stage, history, config):\n    return stage + 1\n")
    with pytest.raises(BadPlugin, match=r"returned 2: it must return an index into the 2"):
        plugs.next_stage(1, [], LengthConfig(stages=(1, 2), curriculum=str(file)))


def test_the_three_functions_of_the_guide_work_as_printed(tmp_path, model):
    guide = (Path(__file__).parents[2] / "docs" / "climbing.md").read_text()
    (printed,) = [
        code for code in re.findall(r"```python\n(.*?)```", guide, re.DOTALL) if "my_loss" in code
    ]
    file = tmp_path / "guide.py"
    file.write_text(printed)
    found = step(model, loss=f"{file}:my_loss")
    assert 0 <= found["mine/cut"] <= 1
    config = CONFIG.model_copy(update={"advantage": f"{file}:my_advantage"})
    assert plugs.advantage_of(config)(make_group(1, 0)) == [0.5, -0.5]
    length = LengthConfig(stages=(1, 2), curriculum=f"{file}:my_curriculum")
    assert [plugs.next_stage(0, [0.0] * steps, length) for steps in (99, 100)] == [0, 1]
