"""TRL: a script that makes a `GRPOConfig(...)` and a `GRPOTrainer(...)`; names are TRL 1.16's."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from munro.machine.errors import BadConfig
from munro.machine.importing import common
from munro.machine.importing.common import number, whole
from munro.machine.importing.draft import (
    Draft,
    Rule,
    Setting,
    apply,
    begin,
    none,
    one_of,
    same,
)
from munro.machine.importing.script import Script, argument, called, read_script
from munro.machine.importing.trl_rows import environment

DEFAULTS: dict[str, Any] = {
    "learning_rate": 1e-6,
    "num_generations": 8,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "max_completion_length": 512,
    "temperature": 1.0,
    "top_p": 1.0,
    "epsilon": 0.2,
    "loss_type": "dapo",
    "scale_rewards": "group",
    "lr_scheduler_type": "linear",
    "adam_beta1": 0.9,
    "adam_beta2": 0.999,
    "adam_epsilon": 1e-8,
}
"""What TRL takes where a script says nothing, and we would take something else."""
TOGETHER = frozenset(
    {
        *("num_generations", "per_device_train_batch_size", "gradient_accumulation_steps"),
        *("generation_batch_size", "steps_per_generation"),
        *("epsilon", "epsilon_high", "adam_beta1", "adam_beta2", "loss_type", "delta"),
        *("importance_sampling_level", "max_steps", "num_train_epochs", "warmup_ratio"),
        *("warmup_steps", "max_prompt_length", "output_dir", "run_name", "reward_weights"),
    }
)
"""Keys that say something together with others."""
LOSSES = {"dapo": "dapo", "bnpo": "dapo", "cispo": "cispo", "dr_grpo": "dr_grpo"}
NEAREST = "for its own is not had: dapo's is the nearest, a mean over the tokens of a batch"
STEPS = 200
"""A climb's, where a script counts epochs."""


def _eval_strategy(draft: Draft, setting: Setting) -> None:
    if setting.value == "no":
        draft.take(setting, "eval.every_steps", 0)
    elif setting.value == "steps":
        draft.told(setting, "eval.every_steps counts steps")
    else:
        draft.lack(setting, "eval.every_steps counts steps")


RULES: dict[str, Rule] = {
    "learning_rate": same("learner.learning_rate", number),
    "max_completion_length": same("length.stages", lambda value: [whole(value)]),
    "vllm_max_model_length": same("rollout.max_context", whole),
    "temperature": same("rollout.temperature", number),
    "top_p": same("rollout.top_p", number),
    "top_k": none("sampling is cut by rollout.top_p alone", unless=(None, 0, -1)),
    "min_p": none("sampling is cut by rollout.top_p alone"),
    "repetition_penalty": none("sampling is cut by rollout.top_p alone", unless=(None, 1, 1.0)),
    "beta": same("learner.kl_weight", number),
    "scale_rewards": one_of(
        "learner.advantage",
        {"group": "group_relative", True: "group_relative", "none": "dr_grpo", False: "dr_grpo"},
        "an advantage is divided by the deviation of its group or by nothing, never by a batch's",
    ),
    "lr_scheduler_type": one_of("learner.schedule.shape", common.SHAPES, common.NO_SHAPE),
    "optim": one_of("learner.optimizer", common.OPTIMIZERS, common.NO_OPTIMIZER),
    "adam_epsilon": same("learner.eps", number),
    "weight_decay": same("learner.weight_decay", number),
    "max_grad_norm": same("learner.max_grad_norm", number),
    "gradient_checkpointing": same("learner.activation_checkpointing", bool),
    "seed": same("seed", whole),
    "save_steps": common.evaluations("checkpoint.every_steps"),
    "save_total_limit": same("checkpoint.keep", whole),
    "eval_steps": common.evaluations("eval.every_steps"),
    "eval_strategy": _eval_strategy,
    "num_generations_eval": same("eval.runs", whole),
    "report_to": common.trackers,
    "chat_template_kwargs": same("rollout.template_args", dict),
    "max_tool_calling_iterations": same("rollout.max_turns", whole),
    "vllm_gpu_memory_utilization": same("rollout.gpu_memory", number),
    "vllm_tensor_parallel_size": same("rollout.tensor_parallel", whole),
    "use_vllm": none("rollout.engine is vllm unless it says otherwise", unless=(None, True)),
    "num_iterations": none(
        "a batch is trained on once; sync.every_steps takes several steps to a weight update",
        unless=(None, 1),
    ),
    "entropy_coef": none(
        "there is no entropy bonus; clip.entropy_target moves the clip, with clip.widening_max",
        unless=(None, 0, 0.0),
    ),
    "top_entropy_quantile": none("every sampled token counts", unless=(None, 1, 1.0)),
    "sync_ref_model": none("the reference never moves", unless=(None, False)),
    "trust_remote_code": none("no code of a model is run", unless=(None, False)),
    "log_completions": none("every attempt is in the run's store", unless=(None, False)),
    "push_to_hub": none("munro push gives a run to the hub", unless=(None, False)),
    "remove_unused_columns": none("graders see every column", unless=(None, False)),
    "save_strategy": none("checkpoints are counted in steps", unless=(None, "steps")),
}


def read_trl(file: Path) -> Draft:
    """A draft out of a script, which is parsed and never run.

    Raises:
        BadConfig: it is no Python, or makes no GRPO trainer that can be read.
    """
    script = read_script(file)
    trainer = _only(script, "GRPOTrainer")
    config = _config(script, trainer)
    words = _words(script, config) if config is not None else {}
    said = [Setting(name, value) for name, value in words.items()]
    draft = begin("TRL", said, DEFAULTS)
    _run(draft, file)
    _model(draft, script, trainer)
    environment(draft, script, trainer)
    _steps(draft)
    _batch(draft)
    _loss(draft)
    apply(draft, RULES, TOGETHER)
    common.gates(draft, filters=False)
    common.as_paid_there(draft)
    draft.decide("sync.max_staleness", 0, "for TRL's trainer samples and learns in turns")
    common.whole_waves(draft)
    _adapter(draft, script, trainer)
    for word in trainer.keywords:
        if word.arg is None:
            draft.lack(Setting("GRPOTrainer.**", script.unread(word.value)), "write it out")
        elif word.arg not in TAKEN and script.value(word.value) is not None:
            draft.lack(Setting(f"GRPOTrainer.{word.arg}", script.unread(word.value)),
                       WHY.get(word.arg, ""))  # fmt: skip
    return draft


TAKEN = ("model", "reward_funcs", "args", "train_dataset", "eval_dataset", "peft_config")
WHY = {
    "processing_class": "the tokenizer is the one that lies beside the model",
    "quantization_config": "learner.lora.base_bits holds the base in 4 bits",
    "callbacks": "nothing of a script runs inside of a climb",
    "tools": "write an environment with tools (munro.envs.ToolUse)",
    "rollout_func": "an environment says how an attempt is played",
    "environment_factory": "write an environment with tools (munro.envs.ToolUse)",
}


def _only(script: Script, name: str) -> ast.Call:
    found = script.calls(name)
    if not found:
        others = sorted({called(call) for call in script.calls(*OTHERS)})
        what = f", but {others[0]}(...), which does something else" if others else ""
        raise BadConfig(f"{script.file} makes no GRPOTrainer(...){what}: no script of TRL's GRPO")
    if len(found) > 1:
        lines = ", ".join(str(call.lineno) for call in found)
        raise BadConfig(f"{script.file} makes {len(found)} of {name} (lines {lines}): leave one")
    return found[0]


OTHERS = ("SFTTrainer", "DPOTrainer", "RewardTrainer", "PPOTrainer", "KTOTrainer", "RLOOTrainer",
          "OnlineDPOTrainer", "ORPOTrainer", "CPOTrainer", "GKDTrainer", "Trainer")  # fmt: skip


def _config(script: Script, trainer: ast.Call) -> ast.Call | None:
    node = argument(trainer, "args", 2)
    if node is None:
        return None
    given = node
    while isinstance(node, ast.Name):
        value = script.set_before(node.id, node.lineno)
        if value is None:
            break
        node = value
    if isinstance(node, ast.Call) and called(node) == "GRPOConfig":
        return node
    raise BadConfig(
        f"{script.file}:{given.lineno}: args = {script.shown(given)} is no GRPOConfig(...) that "
        "stands in the script, so its values are known only when it runs: write them out there"
    )


def _words(script: Script, call: ast.Call) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if call.args:
        found["output_dir"] = script.value(call.args[0])
    for word in call.keywords:
        value = script.value(word.value)
        if word.arg is not None:
            found[word.arg] = value
        elif isinstance(value, dict):
            found |= value
        else:
            raise BadConfig(
                f"{script.file}:{word.value.lineno}: **{script.shown(word.value)} is known only "
                "when it runs: write the arguments of GRPOConfig(...) out"
            )
    return found


def _run(draft: Draft, file: Path) -> None:
    for key in ("run_name", "output_dir"):
        if (given := draft.value(key)) is not None:
            draft.take(draft.settings[key], "name", common.named(given))
            return
    draft.decide("name", common.named(file.stem), "after the script")


def _model(draft: Draft, script: Script, trainer: ast.Call) -> None:
    node = argument(trainer, "model", 0)
    written = "" if node is None else script.shown(node)
    while isinstance(node, ast.Name):
        node = script.set_before(node.id, node.lineno)
    if isinstance(node, ast.Call) and called(node) == "from_pretrained":
        node = argument(node, "pretrained_model_name_or_path", 0)
    value = script.value(node) if node is not None else None
    if isinstance(value, str):
        draft.take(Setting("GRPOTrainer.model", value), "model.path", value)
    else:
        draft.wanted["model.path"] = f"GRPOTrainer's model = {written or 'nothing'}"


def _steps(draft: Draft) -> None:
    steps, epochs = draft.value("max_steps"), draft.settings.get("num_train_epochs")
    if isinstance(steps, int) and steps > 0:
        draft.take(draft.settings["max_steps"], "num_steps", steps)
    else:
        if epochs is not None:
            draft.lack(epochs, "a climb is counted in steps, and draws tasks as long as it goes on")
        draft.decide("num_steps", STEPS, "for TRL counts epochs: set the steps that you want")
    num_steps = draft.raw["num_steps"]
    for key in ("warmup_steps", "warmup_ratio"):
        warm = draft.value(key)
        if warm:
            share = warm < 1 or key == "warmup_ratio"
            wanted = round(warm * num_steps) if share else int(warm)
            draft.take(draft.settings[key], "learner.schedule.warmup_steps", wanted)


def _batch(draft: Draft) -> None:
    keys = ("num_generations", "per_device_train_batch_size", "gradient_accumulation_steps",
            "generation_batch_size", "steps_per_generation")  # fmt: skip
    size, device, accumulated = (whole(draft.value(key, DEFAULTS[key])) for key in keys[:3])
    if size < 2:
        raise BadConfig(f"num_generations = {size}: a group has two attempts at least")
    per_step = device * accumulated
    held = draft.value("generation_batch_size")
    if held is None and (steps := draft.value("steps_per_generation")) is not None:
        held = device * whole(steps)
    said = [draft.settings[key] for key in keys if key in draft.settings]
    common.batch(
        draft, said, group_size=size, per_step=per_step / size,
        per_wave=(held or per_step) / size,
    )  # fmt: skip
    draft.lines.append(
        "decided: one process of TRL's, for a script does not say how many are launched: with "
        "several, multiply batch.num_groups by them"
    )
    longest = draft.value("max_prompt_length")
    if longest:
        caps = whole(longest) + whole(draft.value("max_completion_length", 512))
        draft.take(draft.settings["max_prompt_length"], "rollout.max_context", caps)


def _loss(draft: Draft) -> None:
    kind = draft.settings["loss_type"]
    if draft.value("importance_sampling_level") in ("sequence", "sequence_token"):
        draft.take(draft.settings["importance_sampling_level"], "learner.loss", "gspo")
    elif kind.value in LOSSES:
        draft.take(kind, "learner.loss", LOSSES[kind.value])
    else:
        draft.lack(kind, f"learner.loss is one of {', '.join(sorted(set(LOSSES.values())))}, gspo")
        draft.decide("learner.loss", "dapo", NEAREST)
    if draft.raw["learner"]["loss"] == "dr_grpo":
        length = whole(draft.value("max_completion_length", 512))
        draft.decide("learner.tokens_per_sequence", length, "what TRL divides by")
    low = draft.settings["epsilon"]
    common.clip(
        draft, low, _said(draft, "epsilon_high") or Setting("epsilon_high", low.value, False)
    )
    if (outer := _said(draft, "delta")) is not None:
        draft.take(outer, "clip.outer", number(outer.value))
        draft.decide("learner.loss", "policy", "the loss that clip.outer bounds in every branch")
    betas = [draft.settings["adam_beta1"], draft.settings["adam_beta2"]]
    draft.put("learner.betas", [number(one.value) for one in betas])
    draft.lines.append(f"{betas[0].shown}, {betas[1].shown} -> learner.betas")


def _said(draft: Draft, key: str) -> Setting | None:
    return draft.settings[key] if draft.value(key) is not None else None


def _adapter(draft: Draft, script: Script, trainer: ast.Call) -> None:
    node = argument(trainer, "peft_config", 10)
    while isinstance(node, ast.Name):
        node = script.set_before(node.id, node.lineno)
    if not isinstance(node, ast.Call) or called(node) != "LoraConfig":
        if node is not None and script.value(node) is not None:
            draft.lack(Setting("GRPOTrainer.peft_config", script.unread(node)))
        return
    said = {word.arg: script.value(word.value) for word in node.keywords if word.arg}
    ours = {"lora_alpha": "alpha", "target_modules": "modules", "lora_dropout": "dropout"}
    rank = Setting("LoraConfig.r", said.get("r", 8), "r" in said)
    alpha = {"lora_alpha": 8, "lora_dropout": 0.0}
    others = {
        ours[name]: Setting(f"LoraConfig.{name}", value, name in said)
        for name, value in (alpha | said).items()
        if name in ours and value is not None
    }
    common.lora(draft, rank, others)
    for name, value in said.items():
        if name not in (*ours, "r", "task_type", "bias"):
            draft.lack(Setting(f"LoraConfig.{name}", value), "an adapter here is a plain one")
