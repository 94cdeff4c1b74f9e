"""What a checkpoint was climbed on, as its provenance says: tasks, template, sampling, caps.

A model is good at what it was climbed on, in the template that it was climbed in. So whoever uses a
checkpoint takes both from it, unless told otherwise, and says where they differ.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from munro.base_model.checkpoint import Checkpoint
from munro.base_model.hub import is_hub_name
from munro.envs.loader import BadEnvironment, resolve_config
from munro.machine.climb.start import raw
from munro.machine.config import RunConfig
from munro.machine.loading import BadConfig, check, override
from munro.machine.run.folder import RunFolder, difference
from munro.rewards.plugins import resolve
from munro.rewards.serving.template_keys import refusal, templates_in
from munro.rl.state import ClimbState

TAKEN = ("seed", "env", "judge", "rewards", "length", "rollout")
"""Parts of a config that decide what a policy is asked, how it answers, and what that is worth."""
MACHINERY = {
    "servers", "workers", "groups_in_flight", "tensor_parallel", "gpu_memory", "cpu_kv_cache_gb",
}  # fmt: skip
"""Keys of `[rollout]` that say on what it runs, which is the present machine's affair."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a checkpoint says of itself."""

    run: str
    step: int
    config: Mapping[str, Any]
    """Of the climb, as plain data; environments with absolute paths."""
    template: str
    """That it last sampled with, which a distillation may have changed; empty where unknown."""
    cap: int
    """Response tokens of the stage that it had reached; 0 where unknown."""

    @property
    def template_args(self) -> dict[str, Any]:
        """What its chat template was told."""
        told = self.config["rollout"].get("template_args") if self.template == "chat" else None
        return dict(told or {})


def as_recorded(config: RunConfig) -> str:
    """A climb's config for its checkpoints' provenance: readable from any folder."""
    envs = tuple(resolve_config(env) for env in config.env)
    evals = tuple(resolve_config(env) for env in config.eval.env)
    evaluation = config.eval.model_copy(update={"env": evals})
    return json.dumps(raw(config.model_copy(update={"env": envs, "eval": evaluation})))


def origin_of(folder: Path) -> Origin | None:
    """What the checkpoint in `folder` was climbed on; None where it does not say.

    Raises:
        CheckpointError: it is incomplete.
    """
    told = Checkpoint(folder).require().provenance()
    try:
        config = json.loads(told["config"])
        state = ClimbState.from_json(told["climb_state"])
        template, run, step = config["rollout"]["template"], str(told["run"]), int(told["step"])
        cap = int(config["length"]["stages"][state.stage])
        again = config["distill"]["template"]
    except (KeyError, IndexError, TypeError, ValueError):
        return None
    # the template was not recorded by itself at first
    after = again if again != "keep" and "/distilled/" in str(told.get("began_from")) else template
    return Origin(run=run, step=step, config=config, template=told.get("template", after), cap=cap)


def evaluated(
    origin: Origin | None,
    folder: Path,
    env: str | Sequence[Mapping[str, Any]],
    sizes: Mapping[str, int],
    overrides: Sequence[tuple[str, str]],
    judges: Mapping[str, Any] | None = None,
) -> tuple[RunConfig, list[str]]:
    """The config to evaluate a checkpoint with, and what a person should know of it, line by line.

    Args:
        origin: of the checkpoint.
        folder: the checkpoint's.
        env: another environment, or which of the climb's, those that it was only evaluated on
            among them; empty for all that it was trained on. Tables stand for themselves, whatever
            the climb told environments of their name.
        sizes: of the evaluation.
        overrides: keys that were given.
        judges: by name, beside the climb's.

    Raises:
        BadConfig: a key is wrong, nothing says which environment is meant, or the chat template
            does not use what it is told.
    """
    if origin is None and not env:
        raise BadConfig(f"{folder} does not say what it was climbed on: name an --env.")
    tree = _taken(origin) if origin else {}
    if isinstance(env, str) and env:
        evals = origin.config.get("eval", {}).get("env", []) if origin else []
        chosen = _chosen([*tree.get("env", []), *evals], env)
        tree["env"] = chosen if chosen else {"path": env}
    elif env:
        tree["env"] = [dict(one) for one in env]
    elif len(tree["env"]) == 1:
        tree["env"] = tree["env"][0]  # one table, whose keys can be overridden
    tree["judge"] = {**tree.get("judge", {}), **(judges or {})}
    tree |= {"num_steps": 1, "model": {"path": str(folder)}, "eval": dict(sizes)}
    for key, value in overrides:
        override(tree, key, value)
    if tree.get("rollout", {}).get("template") not in (None, "chat") and not any(
        key.startswith("rollout.template_args") for key, _ in overrides
    ):
        tree["rollout"].pop("template_args", None)
    config = check(tree, source="command line")
    refuse_unused(config)
    if origin is None:
        line = f"template {config.rollout.template}, {config.env[0].path}: the checkpoint does not"
        return config, [f"{line} say what it was climbed on"]
    what = ", ".join(dict.fromkeys(_named(of) for of in config.env))
    said = [f"{what}; template {config.rollout.template}; at most {config.length.stages[0]} tokens"]
    climbed = check(_taken(origin) | {"num_steps": 1}, source=str(folder))
    said += [
        f"not as {origin.run} at step {origin.step}: {line}"
        for line in _told(_compared(climbed), _compared(config))
    ]
    return config, said


def as_climbed(
    config: RunConfig,
    run: RunFolder | None,
    say: Callable[[str], None],
    folder: Path | None = None,
) -> RunConfig:
    """The config with the template of the checkpoint that it begins from, where it names none.

    What the template is told is taken with it, where the config tells it nothing.

    Args:
        config: of a climb.
        run: its folder, whose own config holds if it was begun already.
        say: told what was taken, and what differs.
        folder: of the model, where `model.path` is not one itself; of a hub's model that is not
            here yet nothing is known, and the config is left as it is.

    Raises:
        BadConfig: the model's chat template does not use what it is told.
        CheckpointError: the checkpoint is incomplete.
    """
    if not config.model.path:
        return config
    named = config.rollout.model_fields_set if "rollout" in config.model_fields_set else set()
    before = run.read_config() if run is not None else None
    if before is not None:
        rollout = before.get("rollout", {})
        template, args = rollout.get("template", ""), rollout.get("template_args", {})
    else:
        if folder is None and is_hub_name(config.model.path):
            return config
        origin = origin_of(folder or Path(config.model.path).expanduser())
        template = origin.template if origin else ""
        args = origin.template_args if origin else {}
    config = _in_template(config, template, "template" in named, before is None, say)
    if args and config.rollout.template == "chat" and "template_args" not in named:
        if before is None:
            say(f"rollout.template_args = {args}, as {config.model.path} was climbed with")
        rollout = config.rollout.model_copy(update={"template_args": dict(args)})
        config = config.model_copy(update={"rollout": rollout})
    refuse_unused(config, folder)
    return config


def refuse_unused(config: RunConfig, folder: Path | None = None) -> None:
    """Refuse what the chat template of the config's model would not use.

    Args:
        config: of a climb, or of an evaluation.
        folder: of the model, where `model.path` is a name.

    Raises:
        BadConfig: says what it would.
    """
    args, folder = config.rollout.template_args, folder or Path(config.model.path).expanduser()
    if args and config.rollout.template != "chat":
        raise BadConfig(
            f"rollout.template_args: a chat template takes them, and {config.model.path} was "
            f'climbed in "{config.rollout.template}". Leave them out, or set rollout.template = '
            '"chat".'
        )
    templates = templates_in(folder) if args and config.model.path else []
    whose = f"the chat template of {config.model.path}"
    # where the folder does not show one, whoever loads the tokenizer looks again
    if templates and (wrong := refusal("rollout.template_args", args, templates, whose)):
        raise BadConfig(wrong)


def _in_template(
    config: RunConfig, template: str, named: bool, is_new: bool, say: Callable[[str], None]
) -> RunConfig:
    """The config in the template that the model was climbed in, unless it names another."""
    if template in ("", config.rollout.template):
        return config
    if named:
        if is_new:
            say(
                f'rollout.template = "{config.rollout.template}", but {config.model.path} was '
                f'climbed in "{template}"'
            )
        return config
    if is_new:
        say(f'rollout.template = "{template}", as {config.model.path} was climbed in')
    rollout = config.rollout.model_copy(update={"template": template})
    return config.model_copy(update={"rollout": rollout})


def _taken(origin: Origin) -> dict[str, Any]:
    tree = {key: origin.config[key] for key in TAKEN if key in origin.config}
    rollout = {key: value for key, value in tree["rollout"].items() if key not in MACHINERY}
    tree["rollout"] = rollout | {"template": origin.template}
    if "template_args" in rollout:
        tree["rollout"]["template_args"] = origin.template_args
    tree["length"] = dict(tree["length"]) | {"stages": [origin.cap]}
    taken: dict[str, Any] = json.loads(json.dumps(tree))
    return taken


def _chosen(envs: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    """Which of a climb's environments goes by that name; empty where none does."""
    for env in envs:
        if name in (env["path"], env.get("name")) or _resolved(name) == env["path"]:
            return dict(env)
    return {}


def _resolved(path: str) -> str:
    try:
        return str(resolve(path))
    except (BadEnvironment, ValueError):
        return path


def _named(env: Any) -> str:
    args = ", ".join(f"{key} = {value}" for key, value in env.args.items())
    return f"{env.path} ({args})" if args else str(env.path)


def _compared(config: RunConfig) -> dict[str, Any]:
    """The parts that are taken, without what is the machine's affair."""
    parts = {key: raw(config)[key] for key in TAKEN}
    parts["rollout"] = {k: v for k, v in parts["rollout"].items() if k not in MACHINERY}
    return parts


def _told(climbed: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs, environments told by name: those left out are no difference."""
    kept = [env for env in climbed["env"] if env["path"] in [of["path"] for of in now["env"]]]
    return difference({**climbed, "env": kept or climbed["env"]}, now)
