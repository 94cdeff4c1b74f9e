"""verl: the YAML of `verl.trainer.main_ppo`, whole or only what differs from its defaults.

Names are verl 0.9's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from munro.machine.errors import BadConfig
from munro.machine.importing import common
from munro.machine.importing.common import number, whole
from munro.machine.importing.draft import Draft, Rule, Setting, apply, begin, none, one_of, same
from munro.machine.importing.trees import few, flat, grouped, resolved

ACTOR, ROLLOUT, MODEL = (f"actor_rollout_ref.{part}" for part in ("actor", "rollout", "model"))
OPTIM = f"{ACTOR}.optim"
TABLES = ("actor_rollout_ref", "algorithm", "data", "trainer")
DEFAULTS: dict[str, Any] = {
    f"{ACTOR}.ppo_mini_batch_size": 256,
    f"{ACTOR}.clip_ratio": 0.2,
    f"{ACTOR}.clip_ratio_c": 3.0,
    f"{ACTOR}.loss_agg_mode": "token-mean",
    f"{OPTIM}.lr": 1e-6,
    f"{OPTIM}.weight_decay": 0.01,
    f"{OPTIM}.betas": [0.9, 0.999],
    f"{ROLLOUT}.n": 1,
    f"{ROLLOUT}.temperature": 1.0,
    f"{ROLLOUT}.top_p": 1.0,
    "data.train_batch_size": 1024,
    "data.max_prompt_length": 512,
    "data.max_response_length": 512,
    "algorithm.adv_estimator": "gae",
}
"""What verl takes where a file says nothing, and we would take something else."""
NONE = {
    "critic": "there is no critic; an attempt is compared with the others of its group",
    "actor_rollout_ref.ref": "the reference is what the climb begins from, computed with the rest",
    "fsdp_config": "more than one of learner.ranks shards the model by itself",
    "megatron": "more than one of learner.ranks shards the model by itself",
    "profiler": "seconds by phase are metrics; munro status says what is waited for",
    "global_profiler": "seconds by phase are metrics",
    "transfer_queue": "groups go from workers to the learner by Ray",
    "ray_kwargs": "ray.address and ray.cpus",
    "checkpoint_engine": "sync.transport",
    "engine_kwargs": "rollout.gpu_memory and the like are keys; others are not handed on",
    "sandbox_fusion": "programs run in Munro's own sandbox (rewards.sandbox)",
    "distillation": "a teacher's log-probabilities are not learnt from; munro distill takes traces",
    "rollout_correction": "clip.outer bounds the ratio to what the engine sampled with",
}
ADVANTAGES = {"grpo": "group_relative", "rloo": "rloo"}
LOSSES = {"vanilla": "policy", "gspo": "gspo", "cispo": "cispo"}
TOGETHER = frozenset(
    {
        *(f"{ACTOR}.{key}" for key in ("ppo_mini_batch_size", "clip_ratio", "clip_ratio_low",
          "clip_ratio_high", "clip_ratio_c", "loss_agg_mode", "policy_loss.loss_mode",
          "use_kl_loss", "kl_loss_coef")),
        *(f"{OPTIM}.{key}" for key in ("lr_warmup_steps", "lr_warmup_steps_ratio")),
        *(f"{MODEL}.{key}" for key in ("path", "lora_rank", "lora_alpha", "target_modules")),
        *(f"{ROLLOUT}.{key}" for key in ("n", "multi_turn.enable",
          "multi_turn.max_assistant_turns")),
        *(f"data.{key}" for key in ("train_batch_size", "max_prompt_length", "max_response_length",
          "train_files", "val_files", "prompt_key")),
        *("algorithm.adv_estimator", "algorithm.norm_adv_by_std_in_grpo"),
        "algorithm.filter_groups.enable",
        *("trainer.total_training_steps", "trainer.total_epochs"),
        *(f"{one}custom_reward_function.{key}" for one in ("", "reward.")
          for key in ("path", "name")),
    }
)  # fmt: skip
"""Keys that say something together with others."""


def _frequency(ours: str) -> Rule:
    def rule(draft: Draft, setting: Setting) -> None:
        steps = whole(setting.value)
        if steps > 0:
            draft.take(setting, ours, steps)
        elif ours.startswith("eval"):
            draft.take(setting, ours, 0)
        else:
            draft.lack(setting, "a climb is always saved, every checkpoint.every_steps")

    return rule


RULES: dict[str, Rule] = {
    f"{OPTIM}.lr": same("learner.learning_rate", number),
    f"{OPTIM}.weight_decay": same("learner.weight_decay", number),
    f"{OPTIM}.betas": same("learner.betas", lambda value: [number(one) for one in value]),
    f"{OPTIM}.lr_scheduler_type": one_of("learner.schedule.shape", common.SHAPES, common.NO_SHAPE),
    f"{OPTIM}.warmup_style": one_of("learner.schedule.shape", common.SHAPES, common.NO_SHAPE),
    f"{OPTIM}.min_lr_ratio": same("learner.schedule.final", number),
    f"{OPTIM}.clip_grad": same("learner.max_grad_norm", number),
    f"{OPTIM}.optimizer": one_of("learner.optimizer", common.OPTIMIZERS, common.NO_OPTIMIZER),
    f"{OPTIM}.total_training_steps": none("num_steps", unless=(None, -1)),
    f"{ACTOR}.grad_clip": same("learner.max_grad_norm", number),
    f"{ACTOR}.ppo_epochs": none("a batch is trained on once", unless=(None, 1)),
    f"{ACTOR}.entropy_coeff": none(
        "there is no entropy bonus; clip.entropy_target moves the clip, with clip.widening_max",
        unless=(None, 0, 0.0),
    ),
    f"{MODEL}.enable_gradient_checkpointing": same("learner.activation_checkpointing", bool),
    f"{MODEL}.trust_remote_code": none("no code of a model is run", unless=(None, False)),
    f"{MODEL}.use_remove_padding": none("prompts are shared and rows packed", unless=(None, True)),
    f"{ROLLOUT}.temperature": same("rollout.temperature", number),
    f"{ROLLOUT}.top_p": same("rollout.top_p", number),
    f"{ROLLOUT}.top_k": none("sampling is cut by rollout.top_p alone", unless=(None, -1, 0)),
    f"{ROLLOUT}.name": one_of("rollout.engine", {"vllm": "vllm"}, "rollout.engine is vllm"),
    f"{ROLLOUT}.tensor_model_parallel_size": same("rollout.tensor_parallel", whole),
    f"{ROLLOUT}.gpu_memory_utilization": same("rollout.gpu_memory", number),
    f"{ROLLOUT}.max_num_seqs": same("rollout.max_batch", whole),
    f"{ROLLOUT}.max_model_len": same("rollout.max_context", whole),
    f"{ROLLOUT}.val_kwargs.n": same("eval.runs", whole),
    f"{ACTOR}.kl_loss_type": none(
        "the estimate is k3", unless=(None, "low_var_kl", "k3", "k3+", "low_var_kl+")
    ),
    "algorithm.filter_groups.metric": none("what counts is whether attempts passed"),
    **{
        f"{before}reward_model.enable": none(
            "a model that grades is a grader of kind preference or judge", unless=(None, False)
        )
        for before in ("", "reward.")
    },
    "data.apply_chat_template_kwargs": same("rollout.template_args", dict),
    "data.seed": same("seed", whole),
    "data.shuffle": none("tasks are always shuffled", unless=(None, True)),
    "algorithm.use_kl_in_reward": none(
        "learner.kl_weight puts the distance into the loss, not into the reward",
        unless=(None, False),
    ),
    "algorithm.kl_ctrl.kl_coef": none("it is of use_kl_in_reward", unless=(None, 0, 0.001)),
    "trainer.experiment_name": same("name", common.named),
    "trainer.logger": common.trackers,
    "trainer.save_freq": _frequency("checkpoint.every_steps"),
    "trainer.test_freq": _frequency("eval.every_steps"),
    "trainer.max_actor_ckpt_to_keep": same("checkpoint.keep", whole),
    "trainer.val_before_train": none("eval.every_steps evaluates before too", unless=(None, True)),
    "trainer.critic_warmup": none("there is no critic", unless=(None, 0)),
}


def read_verl(file: Path) -> Draft:
    """A draft out of a YAML file.

    Raises:
        BadConfig: it is no YAML, or not verl's.
    """
    table = _table(file)
    plain = [one for one in few(flat(table)) if not one.key.endswith("_target_")]
    said, lines = grouped(resolved([one for one in plain if one.key != "defaults"]), NONE)
    draft = begin("verl", said, DEFAULTS)
    draft.missing += lines
    if "trainer.experiment_name" not in draft.settings:
        draft.decide("name", common.named(file.stem), "after the file")
    _model(draft)
    _rows(draft)
    _steps(draft)
    _batch(draft)
    _objective(draft)
    apply(draft, RULES, TOGETHER)
    common.gates(draft, filters=bool(draft.value("algorithm.filter_groups.enable")))
    common.as_paid_there(draft)
    _overlong(draft)
    draft.decide("sync.max_staleness", 0, "for this trainer samples and learns in turns")
    common.whole_waves(draft)
    return draft


def _table(file: Path) -> Mapping[str, Any]:
    import yaml  # type: ignore[import-untyped]

    try:
        table = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise BadConfig(f"cannot read {file}: {error}") from error
    except UnicodeDecodeError as error:
        raise BadConfig(f"{file} is not UTF-8 (byte {error.start + 1})") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise BadConfig(f"{file} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(table, Mapping) or not any(
        isinstance(table.get(name), Mapping) for name in TABLES
    ):
        raise BadConfig(
            f"{file} is no configuration of verl's: it has none of the tables {', '.join(TABLES)}"
        )
    return {str(name): value for name, value in table.items()}


def _model(draft: Draft) -> None:
    path = draft.settings.get(f"{MODEL}.path")
    if path is None or not isinstance(path.value, str):
        draft.wanted["model.path"] = f"{MODEL}.path, which is not set or cannot be read,"
    else:
        draft.take(path, "model.path", path.value)
    modules = draft.settings.get(f"{MODEL}.target_modules")
    others = {
        "alpha": draft.settings.get(f"{MODEL}.lora_alpha") or Setting("lora_alpha", 16, False)
    }
    if modules is not None:
        others["modules"] = modules
    common.lora(draft, draft.settings.get(f"{MODEL}.lora_rank"), others)


def _rows(draft: Draft) -> None:
    files, held_out = (
        _files(draft.settings.get(f"data.{name}_files")) for name in ("train", "val")
    )
    if not files:
        draft.wanted["env.args.path"] = "data.train_files, which is not set or cannot be read,"
    envs = []
    for path in files or [""]:
        args: dict[str, Any] = {"path": path} if path else {}
        if held_out:
            args["test_path"] = held_out[0]
        envs.append({"path": "qa", "args": args, **_graded(draft)})
    for env in envs:
        if env.get("graders"):
            env["path"] = "prompts"
        elif draft.value("data.prompt_key", "prompt") != "prompt":
            env["args"]["question"] = draft.value("data.prompt_key")
    draft.raw["env"] = envs[0] if len(envs) == 1 else envs
    for name, found in (("train", files), ("val", held_out)):
        if found:
            ours = "env.args.path" if name == "train" else "env.args.test_path"
            draft.told(draft.settings[f"data.{name}_files"], f"{ours} = {', '.join(found)}")
    for path in held_out[1:]:
        draft.missing.append(f"data.val_files: {path} -> no counterpart: one file is held out")
    if not envs[0].get("graders"):
        draft.lines.append(
            'decided: env.path = "qa", for there is no custom_reward_function: the answer is '
            "compared as mathematics with reward_model.ground_truth"
        )


def _files(setting: Setting | None) -> list[str]:
    value = None if setting is None else setting.value
    if isinstance(value, str):
        value = [one.strip(" '\"") for one in value.strip("[] ").split(",")]
    return [str(Path(one).expanduser()) for one in value if one] if isinstance(value, list) else []


def _graded(draft: Draft) -> dict[str, Any]:
    for before in ("reward.", ""):
        path = draft.value(f"{before}custom_reward_function.path")
        if isinstance(path, str):
            name = draft.value(f"{before}custom_reward_function.name") or "compute_score"
            function = f"{Path(path).expanduser()}:{name}"
            draft.lines.append(f'{before}custom_reward_function -> kind = "verl", {function}')
            grader = {"kind": "verl", "args": {"function": function}, "range": [-1000.0, 1000.0]}
            return {"graders": {"score": grader}, "reward": "score"}
    return {}


def _steps(draft: Draft) -> None:
    steps = draft.value("trainer.total_training_steps")
    if isinstance(steps, int) and steps > 0:
        draft.take(draft.settings["trainer.total_training_steps"], "num_steps", steps)
    else:
        if (epochs := draft.settings.get("trainer.total_epochs")) is not None:
            draft.lack(epochs, "a climb is counted in steps, and draws tasks as long as it goes on")
        draft.decide("num_steps", 200, "for the file counts epochs: set the steps that you want")
    warm, ratio = (draft.settings.get(f"{OPTIM}.lr_warmup_steps{end}") for end in ("", "_ratio"))
    if warm is not None and whole(warm.value) > 0:
        draft.take(warm, "learner.schedule.warmup_steps", whole(warm.value))
    elif ratio is not None and number(ratio.value) > 0:
        steps = round(number(ratio.value) * draft.raw["num_steps"])
        draft.take(ratio, "learner.schedule.warmup_steps", steps)


def _batch(draft: Draft) -> None:
    keys = (f"{ROLLOUT}.n", "data.train_batch_size", f"{ACTOR}.ppo_mini_batch_size")
    size, sampled, mini = (whole(draft.value(key, DEFAULTS[key])) for key in keys)
    if size < 2:
        draft.lack(draft.settings[keys[0]], "attempts are compared within a group, of two at least")
        size = 8
        draft.lines.append("decided: rollout.group_size = 8, for a group has two attempts at least")
    said = [draft.settings[key] for key in keys]
    common.batch(draft, said, group_size=size, per_step=min(mini, sampled), per_wave=sampled)
    lengths = [draft.settings[f"data.max_{name}_length"] for name in ("response", "prompt")]
    draft.take(lengths[0], "length.stages", [whole(lengths[0].value)])
    both = sum(whole(one.value) for one in lengths)
    draft.take(lengths[1], "rollout.max_context", both)
    turns = draft.settings.get(f"{ROLLOUT}.multi_turn.max_assistant_turns")
    if draft.value(f"{ROLLOUT}.multi_turn.enable") and turns is not None and turns.value:
        draft.take(turns, "rollout.max_turns", whole(turns.value))
    elif draft.value(f"{ROLLOUT}.multi_turn.enable"):
        multi = draft.settings[f"{ROLLOUT}.multi_turn.enable"]
        draft.lack(multi, "write an environment with tools (munro.envs.ToolUse)")


def _objective(draft: Draft) -> None:
    estimator = draft.settings["algorithm.adv_estimator"]
    if estimator.value == "grpo" and draft.value("algorithm.norm_adv_by_std_in_grpo") is False:
        draft.take(estimator, "learner.advantage", "dr_grpo")
    elif estimator.value in ADVANTAGES:
        draft.take(estimator, "learner.advantage", ADVANTAGES[estimator.value])
    else:
        draft.lack(estimator, "there is no critic, and learner.advantage compares within a group")
        draft.decide("learner.advantage", "group_relative", "the nearest: GRPO's")
    _loss(draft)
    clip, low, high = (
        draft.settings.get(f"{ACTOR}.clip_ratio{end}") for end in ("", "_low", "_high")
    )
    assert clip is not None  # one of the defaults
    common.clip(draft, low or clip, high or clip)
    outer = draft.settings[f"{ACTOR}.clip_ratio_c"]
    if draft.raw["learner"]["loss"] == "policy":
        draft.take(outer, "clip.outer", number(outer.value))
    weight = draft.settings.get(f"{ACTOR}.kl_loss_coef") or Setting("kl_loss_coef", 0.001, False)
    if draft.value(f"{ACTOR}.use_kl_loss"):
        draft.take(weight, "learner.kl_weight", number(weight.value))


def _loss(draft: Draft) -> None:
    mode = draft.settings.get(f"{ACTOR}.policy_loss.loss_mode") or Setting(
        "loss_mode", "vanilla", False
    )
    mean = draft.settings[f"{ACTOR}.loss_agg_mode"]
    if mode.value not in LOSSES:
        draft.lack(mode, f"learner.loss is one of {', '.join(LOSSES.values())}, dapo, dr_grpo")
        draft.decide("learner.loss", "policy", "the nearest")
    elif mode.value == "vanilla" and mean.value == "seq-mean-token-sum-norm":
        draft.take(mean, "learner.loss", "dr_grpo")
        length = whole(draft.value("data.max_response_length"))
        draft.decide("learner.tokens_per_sequence", length, "what a sequence's sum is divided by")
    else:
        draft.take(mode, "learner.loss", LOSSES[mode.value])
        if mean.value != "token-mean" and mode.value == "vanilla":
            draft.lack(mean, "every token of a batch weighs alike")


def _overlong(draft: Draft) -> None:
    for before in ("reward.reward_kwargs.overlong_buffer_cfg", "reward_model.overlong_buffer"):
        if not draft.value(f"{before}.enable"):
            continue
        draft.missing = [line for line in draft.missing if not line.startswith(before)]
        draft.decide("rewards.length_form", "overlong", f"what {before} asks for")
        for theirs, ours in (("len", "overlong_tokens"), ("penalty_factor", "length_weight")):
            if (setting := draft.settings.get(f"{before}.{theirs}")) is not None:
                draft.take(setting, f"rewards.{ours}", setting.value)
