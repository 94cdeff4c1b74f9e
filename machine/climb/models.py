"""The models that a config names, each found once and before anything loads.

The policy, the base of distillations, judges that Munro serves and preference models among the
graders may all be named by a folder or by their name on the hub. What a config says stays as it was
written, in the run's folder too; processes get folders, and the run's provenance says which commit
each name was, so that a run which goes on never meets newer weights.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from munro.base_model.checkpoint import Checkpoint
from munro.base_model.hub import Located, cached, glance, is_hub_name, locate
from munro.envs.config import EnvConfig
from munro.machine.config import RunConfig
from munro.rewards.combine.parts import GraderConfig
from munro.rewards.kinds import find
from munro.rewards.plugins import BadPlugin

WATCH = "watch."
"""Before the options of a grader's second judge."""
POLICY, ONTO = "model.path", "distill.onto"
ENV, EVAL_ENV = "env", "eval.env"


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """What a config's names of models turned out to be.

    Example:
        Models(found={"model.path": Located(folder=Path("/data/base"))})
    """

    found: Mapping[str, Located] = field(default_factory=dict)
    """By the key that names it: "model.path", "judge.NAME.model", ..."""

    @property
    def policy(self) -> Path | None:
        """The model to start from; None where that is the embedded base."""
        return self.found[POLICY].folder if POLICY in self.found else None

    @property
    def told(self) -> list[str]:
        """A line for a person on each model that came from the hub."""
        of_hub = [(key, one) for key, one in self.found.items() if one.repo]
        return [f"{key}: {one.repo} at commit {one.commit[:12]}" for key, one in of_hub]

    @property
    def provenance(self) -> dict[str, str]:
        """By key, name, commit and digest of each that came from the hub."""
        return {key: one.recorded for key, one in self.found.items() if one.recorded}


def settle(
    config: RunConfig, recorded: Mapping[str, str] | None = None, *, only: str = ""
) -> Models:
    """Find every model that the config names, fetching what is not here.

    Args:
        config: as a person wrote it.
        recorded: a run's provenance: names that it knows are of the commit that it says.
        only: what the keys begin with, as in "judge."; empty for all.

    Raises:
        HubError: a model cannot be had.
    """
    before = recorded or {}
    return Models(
        found={
            key: _located(
                key, name, before, revision=config.model.revision if key == POLICY else ""
            )
            for key, name in named(config)
            if key.startswith(only)
        }
    )


def _located(key: str, name: str, before: Mapping[str, str], *, revision: str) -> Located:
    found = locate(name, revision=revision, recorded=before.get(key, ""))
    if key == POLICY and found.is_linked and "model" in before:
        # a run keeps to what it began from, wherever the link points by now
        return replace(found, folder=Path(before["model"]))
    return found


def foreseen(name: str, *, revision: str = "") -> str:
    """What a dry run says of a model: proven where it is here, looked up on the hub where not.

    Nothing is fetched; without network it says so.

    Raises:
        CheckpointError: the folder is missing, or a file in it is not whole.
        HubError: the hub has no such model or revision, or refuses it.
    """
    if not is_hub_name(name):
        return str(Checkpoint(Path(name).expanduser()).prove().path)
    if folder := cached(name, revision=revision):
        Checkpoint(folder).prove()
    return glance(name, revision=revision)


def here(name: str, *, revision: str = "") -> Path | None:
    """The folder of a model without fetching it; None where it is not here."""
    if is_hub_name(name):
        return cached(name, revision=revision)
    return Path(name).expanduser()


def in_place(config: RunConfig, models: Models) -> RunConfig:
    """The config with folders where it names models of the hub, for who loads them."""
    folders = {
        key: str(one.folder) for key, one in models.found.items() if one.repo or one.is_linked
    }
    if not folders:
        return config
    model, distill = config.model, config.distill
    if POLICY in folders:
        model = model.model_copy(update={"path": folders[POLICY], "revision": ""})
    if ONTO in folders:
        distill = distill.model_copy(update={"onto": folders[ONTO]})
    judges = {
        name: judge.model_copy(update={"model": folders.get(_judge(name), judge.model)})
        for name, judge in config.judge.items()
    }
    envs = _envs_in_place(config.env, ENV, folders)
    evals = config.eval.model_copy(
        update={"env": _envs_in_place(config.eval.env, EVAL_ENV, folders)}
    )
    changed = {"model": model, "distill": distill, "judge": judges, "env": envs, "eval": evals}
    return config.model_copy(update=changed)


def named(config: RunConfig) -> Iterator[tuple[str, str]]:
    """(key, name) of every model that the config names and that Munro loads."""
    if config.model.path:
        yield POLICY, config.model.path
    if config.distill.onto:
        yield ONTO, config.distill.onto
    for name, judge in config.judge.items():
        if not judge.base_url:
            yield _judge(name), judge.model
    for envs, table in ((config.env, ENV), (config.eval.env, EVAL_ENV)):
        for index, env in enumerate(envs):
            for name, grader in env.graders.items():
                place = _grader(table, index, name)
                for argument, _, value in named_by(grader.kind, grader.args):
                    yield f"{place}{argument}", value
                if grader.watch is not None:
                    for argument, _, value in named_by(grader.watch.kind, grader.watch.args):
                        yield f"{place}{WATCH}{argument}", value


def named_by(kind: str, args: Mapping[str, Any]) -> list[tuple[str, tuple[str, ...], str]]:
    """(option, its path, model) of the models that a grader's options name; see `Kind`."""
    try:
        options = find(kind).kind.model_args
    except BadPlugin:  # told by who makes the grader
        return []
    found = []
    for option in options:
        *tables, key = option.split(".")
        node: Any = args
        for table in tables:
            node = node.get(table) if isinstance(node, Mapping) else None
        value = node.get(key) if isinstance(node, Mapping) else None
        if isinstance(value, str) and value and not (tables and node.get("base_url")):
            found.append((option, (*tables, key), value))
    return found


def options_in_place(kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """A grader's options with folders where they name models of the hub.

    Raises:
        HubError: a model cannot be had.
    """
    names = [named for named in named_by(kind, options) if is_hub_name(named[2])]
    found = {option: str(locate(name).folder) for option, _, name in names}
    return _replaced(kind, options, found)


def _envs_in_place(
    envs: Sequence[EnvConfig], table: str, folders: Mapping[str, str]
) -> tuple[EnvConfig, ...]:
    return tuple(
        env.model_copy(
            update={
                "graders": {
                    name: _grader_in_place(grader, _grader(table, index, name), folders)
                    for name, grader in env.graders.items()
                }
            }
        )
        for index, env in enumerate(envs)
    )


def _grader_in_place(grader: GraderConfig, prefix: str, folders: Mapping[str, str]) -> GraderConfig:
    found = {
        key.removeprefix(prefix): folder
        for key, folder in folders.items()
        if key.startswith(prefix)
    }
    made = grader.model_copy(update={"args": _replaced(grader.kind, grader.args, found)})
    if grader.watch is None:
        return made
    seconds = {key.removeprefix(WATCH): folder for key, folder in found.items()}
    args = _replaced(grader.watch.kind, grader.watch.args, seconds)
    return made.model_copy(update={"watch": grader.watch.model_copy(update={"args": args})})


def _replaced(kind: str, args: Mapping[str, Any], found: Mapping[str, str]) -> dict[str, Any]:
    changed = copy.deepcopy(dict(args))
    for option, path, _ in named_by(kind, args):
        if option in found:
            node = changed
            for table in path[:-1]:
                node = node[table]
            node[path[-1]] = found[option]
    return changed


def _judge(name: str) -> str:
    return f"judge.{name}.model"


def _grader(table: str, index: int, name: str) -> str:
    """Prefix of the keys of a grader's options."""
    return f"{table}.{index}.graders.{name}."
