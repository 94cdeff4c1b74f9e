"""prime-rl: the TOML of `rl`, or of its orchestrator; names are those of August 2026."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from munro.machine.errors import BadConfig
from munro.machine.importing import common
from munro.machine.importing.common import number, whole
from munro.machine.importing.draft import Draft, Rule, Setting, apply, begin, none, one_of, same
from munro.machine.importing.prime_rl_envs import environments
from munro.machine.importing.trees import few, flat, grouped
from munro.machine.recipes import KINDS

TABLES = ("orchestrator", "trainer", "inference", "deployment")
DEFAULTS: dict[str, Any] = {
    "orchestrator.batch_size": 128,
    "orchestrator.group_size": 1,
    "trainer.optim.lr": 1e-6,
    "trainer.optim.weight_decay": 0.01,
    "trainer.optim.betas1": 0.9,
    "trainer.optim.betas2": 0.999,
    "orchestrator.train.sampling.temperature": 1.0,
    "orchestrator.max_off_policy_steps": 8,
    "orchestrator.train.filter_zero_advantages": True,
}
"""What prime-rl takes where a file says nothing, and we would take something else."""
NONE = {
    "deployment": "Ray gives servers and learner what there is; rollout.servers, learner.ranks",
    "slurm": "munro submit RECIPE --slurm",
    "weight_broadcast": "sync.transport",
    "rollout_transport": "groups go from workers to the learner by Ray",
    "log": "every step is in metrics.jsonl",
    "prime": "tracking takes tensorboard, wandb or the path of one of yours",
    "concurrency": "rollout.groups_in_flight",
    "renderer": "rollout.template and rollout.calls; auto goes by the model",
    "client": "servers are started here; rollout.servers",
    "env_vars": "set them where Ray starts",
    "debug": "munro rollout and munro replay look at one half alone",
    "trainer.loss": "its masks have no names here; clip.eps and clip.outer bound the ratio",
}
TOGETHER = frozenset(
    {
        *("orchestrator.batch_size", "orchestrator.group_size"),
        *("trainer.optim.betas1", "trainer.optim.betas2", "seq_len", "max_steps", "model.name"),
        *("orchestrator.seq_len", "orchestrator.max_steps", "orchestrator.model.name"),
        *("trainer.seq_len", "trainer.max_steps", "trainer.model.name", "trainer.model.seq_len"),
        *("trainer.scheduler.min_lr", "trainer.scheduler.decay_steps"),
        *("orchestrator.train.filter_zero_advantages", "inference.vllm.max_model_len"),
        *(f"trainer.model.lora.{key}" for key in ("rank", "alpha", "dropout", "target_modules")),
        *("orchestrator.train.source", "orchestrator.train.env", "orchestrator.env"),
        *("monitors.wandb.name", "monitors.wandb.project", "wandb.name", "wandb.project"),
        *("run.name", "orchestrator.eval.source", "orchestrator.eval.env"),
    }
)
"""Keys that say something together with others."""
LENGTHS = ("seq_len", "orchestrator.seq_len", "inference.vllm.max_model_len",
           "trainer.model.seq_len", "trainer.seq_len")  # fmt: skip
SAMPLING = ("orchestrator.train.sampling", "orchestrator.sampling")


def _cap(draft: Draft, setting: Setting) -> None:
    draft.take(setting, "length.stages", [whole(setting.value)])


RULES: dict[str, Rule] = {
    "trainer.optim.lr": same("learner.learning_rate", number),
    "trainer.optim.weight_decay": same("learner.weight_decay", number),
    "trainer.optim.max_norm": same("learner.max_grad_norm", number),
    "trainer.optim.type": one_of("learner.optimizer", common.OPTIMIZERS, common.NO_OPTIMIZER),
    "trainer.scheduler.type": one_of("learner.schedule.shape", common.SHAPES, common.NO_SHAPE),
    "trainer.scheduler.warmup_steps": same("learner.schedule.warmup_steps", whole),
    "trainer.model.ac.mode": same("learner.activation_checkpointing", bool),
    "trainer.model.ac.freq": same("learner.activation_checkpointing", bool),
    "trainer.model.optim_cpu_offload": same("learner.offload", bool),
    **{f"{one}.temperature": same("rollout.temperature", number) for one in SAMPLING},
    **{f"{one}.max_completion_tokens": _cap for one in SAMPLING},
    **{f"{one}.max_tokens": _cap for one in SAMPLING},
    "orchestrator.max_off_policy_steps": same("sync.max_staleness", whole),
    "orchestrator.max_async_level": same("sync.max_staleness", whole),
    "max_async_level": same("sync.max_staleness", whole),
    "orchestrator.algo.type": one_of(
        "learner.advantage", {"grpo": "group_relative"}, "learner.advantage = group_relative"
    ),
    "orchestrator.eval.interval": same("eval.every_steps", whole),
    "orchestrator.eval.num_examples": same("eval.num_tasks", lambda value: whole(value) or None),
    "orchestrator.eval.group_size": same("eval.runs", whole),
    "orchestrator.num_train_workers": none("learner.ranks", unless=(None, 1)),
    "ckpt.interval": same("checkpoint.every_steps", whole),
    "ckpt.keep_last": same("checkpoint.keep", whole),
    "inference.parallel.tp": same("rollout.tensor_parallel", whole),
    "inference.gpu_memory_utilization": same("rollout.gpu_memory", number),
    "inference.vllm.gpu_memory_utilization": same("rollout.gpu_memory", number),
    "inference.vllm.tool_call_parser": none("rollout.calls; auto goes by the model"),
    "output_dir": none("a run lies in folder/name"),
}


def read_prime_rl(file: Path) -> Draft:
    """A draft out of a TOML file.

    Raises:
        BadConfig: it is no TOML, or not of prime-rl's reinforcement learning.
    """
    table = _table(file)
    said, lines = grouped(few(flat(table)), NONE)
    draft = begin("prime-rl", said, DEFAULTS)
    draft.missing += lines
    _run(draft, file)
    environments(draft)
    _sizes(draft)
    apply(draft, RULES, TOGETHER)
    _rate(draft)
    common.gates(draft, filters=bool(draft.value("orchestrator.train.filter_zero_advantages")))
    common.as_paid_there(draft)
    draft.decide("rollout.top_p", 1.0, "for prime-rl samples from the whole distribution")
    draft.lines.append(
        "decided: learner.loss and [clip] as the report has them, for prime-rl masks tokens by "
        "bounds of another kind"
    )
    others = {
        ours: draft.settings[key]
        for theirs, ours in (("alpha", "alpha"), ("dropout", "dropout"),
                             ("target_modules", "modules"))
        if (key := f"trainer.model.lora.{theirs}") in draft.settings
    }  # fmt: skip
    rank = draft.settings.get("trainer.model.lora.rank")
    if rank is None and others:
        rank = Setting("trainer.model.lora.rank", 16, is_said=False)
    common.lora(draft, rank, others)
    common.whole_waves(draft)
    return draft


def _table(file: Path) -> Mapping[str, Any]:
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise BadConfig(f"cannot read {file}: {error}") from error
    except UnicodeDecodeError as error:
        raise BadConfig(f"{file} is not UTF-8 (byte {error.start + 1})") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadConfig(f"{file} is no TOML: {error}") from error
    if ours := next((kind for kind in KINDS if kind.fits(table)), None):
        raise BadConfig(f"{file} is a file of Munro's already: munro {ours.verb} {file}")
    if not any(isinstance(table.get(name), Mapping) for name in TABLES):
        raise BadConfig(
            f"{file} is no configuration of prime-rl's reinforcement learning: it has none of the "
            f"tables {', '.join(TABLES)}"
        )
    return table


def _run(draft: Draft, file: Path) -> None:
    for key in ("run.name", "monitors.wandb.name", "wandb.name"):
        if (setting := draft.settings.get(key)) is not None and setting.value:
            draft.take(setting, "name", common.named(setting.value))
            break
    else:
        draft.decide("name", common.named(file.stem), "after the file")
    for key in ("monitors.wandb.project", "wandb.project"):
        if (setting := draft.settings.get(key)) is not None:
            draft.put("tracking", ["wandb"])
            draft.told(setting, 'tracking = ["wandb"], whose project is munro unless WANDB_PROJECT')
    model = _first(draft, "model.name", "trainer.model.name", "orchestrator.model.name")
    if model is None:
        draft.wanted["model.path"] = "model.name, which is not set,"
    else:
        draft.take(model, "model.path", model.value)


def _first(draft: Draft, *keys: str) -> Setting | None:
    return next((draft.settings[key] for key in keys if key in draft.settings), None)


def _sizes(draft: Draft) -> None:
    steps = _first(draft, "max_steps", "orchestrator.max_steps", "trainer.max_steps")
    if steps is None:
        draft.decide("num_steps", 200, "for the file bounds no steps: set those that you want")
    else:
        draft.take(steps, "num_steps", whole(steps.value))
    longest = _first(draft, *LENGTHS)
    if longest is not None:
        draft.take(longest, "rollout.max_context", whole(longest.value))
    for other in LENGTHS:
        if other in draft.settings and draft.settings[other] is not longest:
            draft.lack(draft.settings[other], "one length, rollout.max_context, holds for all")
    for key in ("orchestrator.eval.source", "orchestrator.eval.env"):
        if key in draft.settings:
            draft.lack(draft.settings[key], "held out are tasks of the same environments")
    said = [draft.settings[f"orchestrator.{key}"] for key in ("batch_size", "group_size")]
    size = whole(said[1].value)
    if size < 2:
        draft.lack(said[1], "attempts are compared within a group, of two at least")
        size = 8
        draft.lines.append("decided: rollout.group_size = 8, for a group has two attempts at least")
    per_step = whole(said[0].value) / size
    common.batch(draft, said, group_size=size, per_step=per_step, per_wave=per_step)
    if not any(f"{one}.max{end}" in draft.settings for one in SAMPLING
               for end in ("_completion_tokens", "_tokens")):  # fmt: skip
        room = whole(longest.value) * 3 // 4 if longest is not None else 1536
        draft.decide("length.stages", [room], "for the file caps the whole context alone")


def _rate(draft: Draft) -> None:
    betas = [draft.settings[f"trainer.optim.betas{number}"] for number in (1, 2)]
    draft.put("learner.betas", [number(one.value) for one in betas])
    draft.lines.append(f"{betas[0].shown}, {betas[1].shown} -> learner.betas")
    least = draft.settings.get("trainer.scheduler.min_lr")
    if least is not None:
        share = number(least.value) / draft.raw["learner"]["learning_rate"]
        draft.take(least, "learner.schedule.final", min(1.0, float(f"{share:.6g}")))
    if (steps := draft.settings.get("trainer.scheduler.decay_steps")) is not None:
        draft.lack(steps, "the rate falls until learner.schedule.num_steps")
