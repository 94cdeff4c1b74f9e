"""TRL's data set and reward functions, as an environment: `prompts` with graders of kind trl."""

from __future__ import annotations

import ast
from typing import Any

from munro.machine.importing.datasets import Rows, rows_of
from munro.machine.importing.draft import Draft, Setting, Unread
from munro.machine.importing.functions import definitions, lacking, taken_out
from munro.machine.importing.script import Script, argument

RANGE = [-1000.0, 1000.0]
HERE = "{rewards}"
"""Stands for the file of the functions until that has a name."""
MATHS = ("accuracy_reward",)
"""Functions of TRL's own that do what our grader of mathematics does."""


def environment(draft: Draft, script: Script, trainer: ast.Call) -> None:
    """The environment, its rows and its graders."""
    draft.put("env.path", "prompts")
    _rows(draft, script, trainer)
    functions = _functions(script, argument(trainer, "reward_funcs", 1))
    weights = draft.settings.get("reward_weights")
    own: list[str] = []
    graders: dict[str, Any] = {}
    for node in functions:
        name, grader = _grader(draft, script, node)
        if grader is not None:
            graders[name] = grader
            own += [name] if grader.get("args", {}).get("function", "").startswith(HERE) else []
    if own:
        draft.files[HERE] = taken_out(script, own)
        if absent := lacking(script, own):
            draft.missing.append(
                f"reward_funcs -> no counterpart: {', '.join(absent)}, which the functions use, is "
                "not at the top of the script: put it into the file of the functions"
            )
    if not graders:
        draft.wanted["env.path"] = "GRPOTrainer's reward_funcs hold no function that can be taken"
        return
    draft.put("env.graders", graders)
    if len(graders) == 1 and weights is None:
        draft.put("env.reward", next(iter(graders)))
        return
    reward: dict[str, Any] = {"kind": "sum", "parts": list(graders)}
    if weights is not None and isinstance(weights.value, list):
        if len(weights.value) == len(graders):
            reward["weights"] = [float(one) for one in weights.value]
            draft.told(weights, "env.reward.weights")
        else:
            draft.lack(weights, f"there are {len(graders)} functions here")
    draft.put("env.reward", reward)


def _rows(draft: Draft, script: Script, trainer: ast.Call) -> None:
    given = {name: argument(trainer, name, place) for name, place in PLACES.items()}
    train = given["train_dataset"]
    found = None if train is None else rows_of(script, train, trainer.lineno)
    if not isinstance(found, Rows) or not isinstance(found.args.get("path"), str):
        written = "nothing" if train is None else script.shown(train)
        draft.wanted["env.args.path"] = f"GRPOTrainer's train_dataset = {written}"
        return
    args = {key: value for key, value in found.args.items() if key != "files"}
    draft.put("env.args", args)
    draft.lines.append(f"train_dataset -> env.args = {args}".replace("'", '"'))
    for call in found.done:
        draft.missing.append(
            f"train_dataset.{call} -> no counterpart: rows are read as they stand in the file; "
            "write them out as they should be"
        )
    if given["eval_dataset"] is not None:
        _held_out(draft, script, given["eval_dataset"], trainer, args)


PLACES = {"train_dataset": 3, "eval_dataset": 4}


def _held_out(
    draft: Draft, script: Script, node: ast.expr, trainer: ast.Call, train: dict[str, Any]
) -> None:
    found = rows_of(script, node, trainer.lineno)
    if isinstance(found, Unread):
        draft.lack(Setting("eval_dataset", found), "a share of the rows is held out instead")
        return
    if found.args.get("path") != train["path"]:
        draft.take(Setting("eval_dataset", found.args["path"]), "env.args.test_path",
                   found.args["path"])  # fmt: skip
    if found.args.get("split") and found.args["split"] != train.get("split"):
        split = found.args["split"]
        draft.take(Setting("eval_dataset", split), "env.args.test_split", split)


def _functions(script: Script, node: ast.expr | None) -> list[ast.expr]:
    while isinstance(node, ast.Name) and node.id not in definitions(script):
        value = script.set_before(node.id, node.lineno)
        if value is None:
            return [node]
        node = value
    if isinstance(node, ast.Name):
        place = definitions(script)[node.id]
        is_list = isinstance(place, ast.Assign) and isinstance(place.value, ast.List | ast.Tuple)
        node = place.value if is_list and isinstance(place, ast.Assign) else node
    if isinstance(node, ast.List | ast.Tuple):
        return list(node.elts)
    return [] if node is None else [node]


def _grader(draft: Draft, script: Script, node: ast.expr) -> tuple[str, dict[str, Any] | None]:
    """A name and a grader; None where the function cannot be had."""
    shown = script.unread(node)
    place = definitions(script).get(node.id) if isinstance(node, ast.Name) else None
    name = node.id if isinstance(node, ast.Name) else ""
    if isinstance(place, ast.ImportFrom):
        whole = next(one.name for one in place.names if name in (one.asname, one.name))
        if place.module == "trl.rewards" and whole in MATHS:
            grader: dict[str, Any] = {"kind": "math", "fields": {"answer": "solution"}}
            draft.told(Setting("reward_funcs", name), 'the grader "math", on the column solution')
            return name, grader
        path = f"{'.' * place.level}{place.module or ''}:{whole}"
        if place.level:
            draft.lack(Setting("reward_funcs", shown), f"{path} is relative: give it by its file")
            return name, None
        return name, _of(draft, name, path, is_chat=True)
    if isinstance(place, ast.FunctionDef | ast.AsyncFunctionDef):
        is_chat = any(isinstance(one, ast.Constant) and one.value == "content"
                      for one in ast.walk(place))  # fmt: skip
        return name, _of(draft, name, f"{HERE}:{name}", is_chat=is_chat)
    value = script.value(node)
    why = (
        "a reward model: name it in a grader of kind preference"
        if isinstance(value, str)
        else "give a function of its own at the top of the script"
    )
    draft.lack(Setting("reward_funcs", value if isinstance(value, str) else shown), why)
    return name or "reward", None


def _of(draft: Draft, name: str, path: str, *, is_chat: bool) -> dict[str, Any]:
    form = "messages" if is_chat else "text"
    draft.told(
        Setting("reward_funcs", name), f'env.graders.{name}, kind = "trl", format = "{form}"'
    )
    return {"kind": "trl", "args": {"function": path, "format": form}, "range": RANGE}
