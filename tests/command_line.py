"""Whether a command is one that `munro` would take: names, options, dotted keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, get_args, get_origin

import click
from pydantic import BaseModel

from munro.base_model.data.config import DataConfig, MixtureConfig
from munro.base_model.scaling.config import LadderConfig
from munro.base_model.scaling.mixture_config import MixConfig
from munro.base_model.training.recipe import PretrainRecipe
from munro.distill.config import DistillConfig, PreferenceConfig
from munro.envs.config import EnvConfig
from munro.envs.worlds.spec import Domain
from munro.evaluation.config import GateConfig, SuiteConfig
from munro.evaluation.likelihood.config import LikelihoodConfig
from munro.machine.cli.evaluation import Bare
from munro.machine.cli.main import munro
from munro.machine.config import RunConfig
from munro.machine.loading import overrides_of
from munro.machine.pipeline.config import MachineConfig
from munro.questions.answers.config import ScoreConfig
from munro.questions.config import QuestionsConfig
from munro.rewards.judge.responses import Policies

TREES: Mapping[str, type[BaseModel]] = {
    "climb": RunConfig,
    "config": RunConfig,
    "import": RunConfig,
    "submit": RunConfig,
    "plan": RunConfig,
    "rollout": RunConfig,
    "distill": DistillConfig,
    "consolidate": DistillConfig,
    "regrade": RunConfig,
    "preference train": PreferenceConfig,
    "pretrain": PretrainRecipe,
    "data build": DataConfig,
    "questions build": QuestionsConfig,
    "ladder": LadderConfig,
    "mix": MixConfig,
}
"""What the dotted keys of a command belong to, where that is told without reading a file."""

WRITTEN = (
    *dict.fromkeys(TREES.values()),
    *(MachineConfig, MixtureConfig, EnvConfig),
    *(SuiteConfig, GateConfig, LikelihoodConfig, Policies),
    Domain,
    ScoreConfig,
)
"""What a person writes in TOML."""


def find(words: Sequence[str], command: click.Command = munro) -> tuple[click.Command, list[str]]:
    """The innermost command that these words after `munro` name, and the words that are left."""
    rest = list(words)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        if rest[0] not in command.commands:
            raise click.UsageError(f"there is no command {rest[0]!r}")
        command = command.commands[rest.pop(0)]
    if isinstance(command, Bare) and rest and rest[0] not in ("-h", "--help"):
        command = command.commands[command.meant(rest)]
    return command, rest


def name_of(words: Sequence[str]) -> str:
    """`env check` of `["env", "check", "my_env.py:MyEnv"]`."""
    _, rest = find(words)
    return " ".join(words[: len(words) - len(rest)])


def check(words: Sequence[str]) -> None:
    """Parse as `munro` would, and look up what it leaves to the config.

    Raises:
        click.UsageError: no such command, option or argument.
        BadConfig: an option without its value.
        LookupError: a dotted key that no config knows.
    """
    command, rest = find(words)
    try:
        context = command.make_context(name_of(words), list(rest))
    except click.exceptions.Exit:  # --help and --version end here
        return
    loose = list(context.args)
    if "runs" in context.params:  # of which click hands on all but the first
        loose = loose[next((i for i, word in enumerate(loose) if word[:2] == "--"), len(loose)) :]
    pairs = overrides_of(loose)
    if tree := TREES.get(name_of(words)):
        for key, _ in pairs:
            if not knows(tree, key.split(".")):
                raise LookupError(f"--{key}: no key of {tree.__name__}")


@cache
def models_in(annotation: Any) -> tuple[type[BaseModel], ...]:
    """Config classes in an annotation, whatever holds them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return (annotation,)
    return tuple(model for part in get_args(annotation) for model in models_in(part))


def is_mapping(annotation: Any) -> bool:
    parts = (annotation, *get_args(annotation))
    return any(get_origin(part) in (dict, Mapping) or part in (dict, Mapping) for part in parts)


def knows(tree: type[BaseModel], path: Sequence[str]) -> bool:
    """Whether a dotted key leads somewhere: to a field, or into a table that takes any name."""
    name, *rest = path
    field = tree.model_fields.get(name)
    if field is None:
        return bool(tree.model_config.get("extra") == "allow")
    if not rest:
        return True
    inner = models_in(field.annotation)
    if is_mapping(field.annotation):
        return not inner or len(rest) == 1 or any(knows(model, rest[1:]) for model in inner)
    return any(knows(model, rest) for model in inner) or not inner


def keys_of(table: Mapping[str, Any], prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every path to a value of a TOML table; lists of tables count as one of them."""
    found: list[tuple[str, ...]] = []
    for name, value in table.items():
        path = (*prefix, name)
        tables = value if isinstance(value, list) else [value]
        if tables and all(isinstance(one, Mapping) for one in tables):
            for one in tables:
                found += keys_of(one, path) or [path]
        else:
            found.append(path)
    return found
