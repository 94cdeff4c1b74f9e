"""prime-rl's sources of tasks, which are task sets of verifiers, as environments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from munro.machine.importing.draft import Draft, Setting, shown

PYTHON = "verifiers/bin/python"
"""Where verifiers is expected: an interpreter of its own, that a person makes."""
SOURCES = ("orchestrator.train.source", "orchestrator.train.env", "orchestrator.env")
ROWS = {
    "dataset_name": "path",
    "dataset_subset": "subset",
    "dataset_split": "split",
    "question_key": "question",
    "answer_key": "answer",
    "train_path": "path",
}
"""Arguments of task sets over rows, and what `qa` calls them."""


def environments(draft: Draft) -> None:
    """`[env]` or several `[[env]]`, out of the sources."""
    key = next((one for one in SOURCES if one in draft.settings), None)
    given = draft.settings[key].value if key else None
    if isinstance(given, Mapping):
        given = [given]
    if not isinstance(given, list) or not all(isinstance(one, Mapping) for one in given):
        draft.wanted["env.path"] = f"{SOURCES[0]}, which is not set,"
        return
    envs = [env for one in given if (env := _environment(draft, f"{key}", one)) is not None]
    if not envs:
        draft.wanted["env.path"] = f"{key}, where no task set is named,"
    elif len(envs) == 1:
        draft.put("env", envs[0])
    else:
        draft.put("env", envs)


def _environment(draft: Draft, key: str, source: Mapping[str, Any]) -> dict[str, Any] | None:
    inner = source.get("env") if isinstance(source.get("env"), Mapping) else source
    taskset = inner.get("taskset", {}) if isinstance(inner, Mapping) else {}
    name = taskset.get("id") or source.get("id")
    if not isinstance(name, str):
        draft.lack(Setting(f"{key}.id", name), "a source names a task set")
        return None
    args = {one: value for one, value in taskset.items() if one != "id"}
    args |= source["args"] if isinstance(source.get("args"), Mapping) else {}
    env = _known(draft, key, name, args)
    if (ratio := source.get("ratio")) is not None:
        env["weight"] = float(ratio)
        draft.told(Setting(f"{key}.ratio", ratio), f"env.weight = {shown(env['weight'])}")
    agent = inner.get("agent", {}) if isinstance(inner, Mapping) else {}
    for part in ("harness", "runtime"):
        what = agent.get(part, {}).get("id" if part == "harness" else "type")
        if what not in (None, "null", "subprocess"):
            draft.lack(
                Setting(f"{key}.env.agent.{part}", what),
                "the environment agent runs a program of your own against the policy's address",
            )
    for one in source:
        if one not in ("name", "id", "args", "ratio", "env", "taskset"):
            draft.lack(Setting(f"{key}.{one}", source[one]), "it is set for all sources alike")
    return env


def _known(draft: Draft, key: str, name: str, args: dict[str, Any]) -> dict[str, Any]:
    """Our environment for a task set: of rows, of reasoning-gym's, or verifiers' own."""
    plain = name.rpartition("/")[2].partition("@")[0].replace("_", "-")
    theirs = Setting(f"{key}.id", name)
    if plain == "reasoning-gym":
        dataset = args.pop("gym", args.pop("dataset", ""))
        if isinstance(dataset, str) and dataset:
            draft.told(theirs, f'env.path = "reasoning_gym", dataset = "{dataset}"')
            sizes = {"num_train_examples": "size", "num_eval_examples": "test_size"}
            known = {sizes[one]: args[one] for one in args if one in sizes}
            _leave(draft, key, args, sizes)
            return {"path": "reasoning_gym", "args": {"dataset": dataset, **known}}
    if plain == "gsm8k" and "dataset_name" not in args:
        draft.told(theirs, 'env.path = "qa", on openai/gsm8k')
        _leave(draft, key, args, {})
        rows = {"path": "openai/gsm8k", "subset": "main", "split": "train", "test_split": "test"}
        return {"path": "qa", "args": rows}
    if plain in ("math-env", "single-turn-math", "gsm8k") and "dataset_name" in args:
        ours = {ROWS[one]: value for one, value in args.items() if one in ROWS}
        draft.told(theirs, f'env.path = "qa", {shown(ours)}: answers are compared as mathematics')
        _leave(draft, key, args, ROWS)
        return {"path": "qa", "args": ours}
    draft.told(theirs, f'env.path = "remote", side = "verifiers", taskset = "{name}"')
    draft.lines.append(
        f"decided: env.args.python = {PYTHON}, an interpreter with verifiers in it: "
        "docs/foreign.md says how to make one"
    )
    config = {"config": args} if args else {}
    return {
        "path": "remote",
        "args": {"python": PYTHON, "side": "verifiers", "taskset": name, **config},
    }


def _leave(draft: Draft, key: str, args: Mapping[str, Any], known: Mapping[str, str]) -> None:
    for one, value in args.items():
        if one not in known:
            draft.lack(Setting(f"{key}.{one}", value), "it is of a task set that runs elsewhere")
