"""What an evaluation asks: each entry of a suite as a config, its tasks, a table in suite.toml."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from munro.base_model.checkpoint import Checkpoint, digest_of
from munro.base_model.hub import Located
from munro.envs.problem_set import ProblemSet
from munro.envs.types import Task
from munro.evaluation.config import EntryConfig, SuiteConfig
from munro.evaluation.suite import Asked
from munro.machine.climb.base import require_template
from munro.machine.climb.models import in_place, settle
from munro.machine.climb.origin import MACHINERY, evaluated, origin_of
from munro.machine.climb.start import raw
from munro.machine.config import RunConfig
from munro.machine.loading import BadConfig
from munro.rewards import judge

SAMPLING = ("temperature", "top_p")
"""Of `[rollout]`, with the cap on a response, what two results must have alike."""
UNSAID = ("weight", "budget")
"""Keys of an environment that stand where nothing was said of them, and then say nothing."""
UNNAMED = re.compile(r"[^A-Za-z0-9._+-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One entry, ready to be run."""

    asked: Asked
    config: RunConfig
    """To start a fleet with: folders in the place of names of models."""
    tasks: Mapping[str, Task]
    """By the names that results know them by; their `env` is the name in this config alone."""
    names: Mapping[str, str]
    """Of its environments: in this config, to its own."""
    num_trained: int
    """Tasks that training has too."""
    said: tuple[str, ...]
    """What a person should know, a line each."""

    @property
    def cap(self) -> int:
        """Tokens of a response."""
        return self.config.length.stages[0]


def planned(
    folder: Path,
    entry: EntryConfig,
    env: str,
    sizes: Mapping[str, int],
    suite: SuiteConfig | None,
    overrides: Sequence[tuple[str, str]],
) -> Planned:
    """One entry of a suite, or what `munro eval` is told without one.

    Args:
        folder: of the checkpoint.
        entry: of the suite, or an empty one.
        env: what `--env` said, where there is no suite.
        sizes: "num_tasks" and "runs".
        suite: whose entry it is.
        overrides: keys that were given; the entry's own come after them.

    Raises:
        BadConfig: a key is wrong, or nothing says which environment is meant.
        BadEnvironment: an environment cannot be loaded, or has nothing held out.
    """
    # what was left out says nothing, and so does not differ from what another version fills in
    envs = [one.model_dump(mode="json", exclude_unset=True) for one in entry.env]
    judges = {} if suite is None else {k: v.model_dump(mode="json") for k, v in suite.judge.items()}
    more = [*overrides, *_sampled(entry), *([("seed", str(suite.seed))] if suite else [])]
    config, said = evaluated(origin_of(folder), folder, envs or env, sizes, more, judges)
    settled = in_place(config, settle(config))
    # loading and drawing say what is wrong with an environment before an engine has started
    problems = ProblemSet(settled.env, settled.seed)
    tasks = problems.held_out(settled.eval.num_tasks)
    require_template(Checkpoint(folder), settled)
    require_judges(settled)
    named = {f"{task.env}/{task.id}": task for task in tasks}
    name = entry.name or UNNAMED.sub("-", "+".join(problems.names)).strip("-+.") or "tasks"
    return Planned(
        asked=Asked(
            name=name,
            tasks=tuple(named),
            runs=config.eval.runs,
            seed=config.seed,
            settings=settings(config),
        ),
        config=settled,
        tasks=named,
        names={
            name: one.name or problems.environment(name).name
            for name, one in zip(problems.names, settled.env, strict=True)
        },
        num_trained=problems.num_trained_on(tasks),
        said=tuple(said),
    )


def require_judges(config: RunConfig) -> None:
    """Refuse graders whose judge is not there, before an engine has started to find that out.

    Raises:
        BadConfig: no judge of that name, or its key or checkpoint is missing.
    """
    graders = [grader for env in config.env for grader in env.graders.values()]
    asked = [config.rewards.judge, *(grader.args.get("judge") for grader in graders)]
    judge.configure(config.judge)
    try:
        for name in asked:
            if name and isinstance(name, str):
                judge.named(name)
    except ValueError as error:
        raise BadConfig(str(error)) from error
    finally:
        judge.close()


def _sampled(entry: EntryConfig) -> list[tuple[str, str]]:
    """What an entry says of sampling, as overrides."""
    told = {
        "rollout.temperature": entry.temperature,
        "rollout.top_p": entry.top_p,
        "length.stages": None if entry.max_tokens is None else [entry.max_tokens],
        "rollout.template": json.dumps(entry.template) if entry.template else None,
    }
    return [(key, str(value)) for key, value in told.items() if value is not None]


def settings(config: RunConfig) -> dict[str, Any]:
    """Everything that decides attempts, as plain data for suite.toml.

    "env" and "sampling" must be the same for two results to be compared; the rest must be for one
    to be gone on with.
    """
    tree = _without_none(raw(config))
    rollout = {key: value for key, value in tree["rollout"].items() if key not in MACHINERY}
    sampling = {key: rollout.pop(key) for key in SAMPLING}
    sampling["max_tokens"] = tree["length"]["stages"][0]
    return {
        "env": [_said(one) for one in tree["env"]],
        "sampling": sampling,
        "rollout": rollout,
        "judge": tree["judge"],
        "rewards": tree["rewards"],
    }


def _said(env: Mapping[str, Any]) -> dict[str, Any]:
    """An environment without what nobody said."""
    return {key: value for key, value in env.items() if value and key not in UNSAID}


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list | tuple) else value


def model_of(located: Located, given: str) -> dict[str, str]:
    """Which model an evaluation is of, so that another one at the same path is noticed."""
    files = sorted(located.folder.glob("*.safetensors")) + sorted(
        located.folder.glob("adapter_config.json")
    )
    digests = "".join(digest_of(file) for file in files)
    told = {"name": given, "weights": blake2b(digests.encode(), digest_size=8).hexdigest()}
    return told | ({"commit": located.commit} if located.repo else {})
