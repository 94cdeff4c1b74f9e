"""Names of other trainers are answered with ours, and with keys that exist."""

from __future__ import annotations

import re

import pytest

from munro.machine.config import RunConfig
from munro.machine.loading import BadConfig, all_keys, check, load
from munro.machine.other_trainers import COUNTERPARTS, answer

OURS = {*all_keys(RunConfig), "env.path", "env.args", "env.reward", "env.graders", "folder/name"}


def test_every_key_that_an_answer_names_is_one_of_ours() -> None:
    named = re.findall(r"\[?\b[a-z_]+\.[a-z_]+\b", " ".join(one.answer for one in COUNTERPARTS))
    assert {name.strip("[") for name in named} - OURS - {"metrics.jsonl"} == set()
    assert len(named) > 40


def test_no_name_of_theirs_is_a_key_of_ours() -> None:
    theirs = {
        name for one in COUNTERPARTS for names in one.theirs.values() for name in names.split()
    }
    assert theirs & set(all_keys(RunConfig)) == set()


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("num_generations", "a name of TRL's: set rollout.group_size"),
        ("rollout.num_generations", "a name of TRL's: set rollout.group_size"),
        ("beta", "a name of TRL's: set learner.kl_weight"),
        ("loss.kind", "set learner.loss to policy (the report's), cispo, dapo, dr_grpo, gspo"),
        ("advantage.scale", "set learner.advantage to group_relative (in standard deviations)"),
        ("warmup_ratio", "set learner.schedule.shape to constant, linear or cosine"),
        ("clip_ratio_high", "set clip.eps_high for an upper bound of 1 + eps_high"),
        ("overlong_buffer.len", "set rewards.length_form to overlong"),
        ("max_completion_length", "set length.stages"),
        ("per_device_train_batch_size", "learner.token_budget"),
        ("rollout.n", "a name of verl's: set rollout.group_size"),
        ("actor_rollout_ref.rollout.n", "a name of verl's: set rollout.group_size"),
        ("algorithm.kl_ctrl.kl_coef", "a name of verl's: set learner.kl_weight"),
        ("actor_rollout_ref.actor.clip_ratio_high", "clip.widening_max"),
        ("n_samples_per_prompt", "a name of OpenRLHF's: set rollout.group_size"),
        ("micro_train_batch_size", "a name of OpenRLHF's: micro-batches are made by size"),
        ("orchestrator.group_size", "a name of prime-rl's: set rollout.group_size"),
        ("trainer.optim.lr", "set learner.learning_rate"),
        ("chat_template_kwargs", "a name of TRL's: set rollout.template_args"),
        ("temperature", "Did you mean rollout.temperature?"),
        ("learner.temperature", "Did you mean rollout.temperature?"),
    ],
)
def test_their_names_are_answered_with_ours(key: str, said: str) -> None:
    with pytest.raises(BadConfig) as caught:
        load("configs/quickstart.toml", [(key, "1")])
    assert said in str(caught.value)
    assert f"unknown key {key}" in str(caught.value)


def test_a_table_of_theirs_is_answered_by_the_first_key_that_is_known() -> None:
    raw = {"num_steps": 1, "env": "arithmetic", "algorithm": {"x": 1, "adv_estimator": "grpo"}}
    with pytest.raises(BadConfig, match=r"key algorithm.adv_estimator, a name of verl's"):
        check(raw, source="recipe.toml")


def test_a_name_that_nobody_uses_is_left_to_the_nearest_of_ours() -> None:
    assert answer("rollout.group_sizes", 4) is None
    with pytest.raises(BadConfig, match=r"Did you mean rollout.group_size\?"):
        load("configs/quickstart.toml", [("rollout.group_sizes", "4")])
