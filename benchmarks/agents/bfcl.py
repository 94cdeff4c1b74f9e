"""BFCL's own tasks through real episodes: gold, nothing, damaged calls; and what the package says.

    python benchmarks/agents/bfcl.py [--data FOLDER_OF_bfcl-eval] [--damaged 4]

Must show: all 800 gold conversations pass, with the tools of the task and with all 128; doing
nothing passes in none, nor does calling what is not there (some tasks leave the state as it was:
only the answers tell); of attempts with one wrong argument at least 95% fail, and those that pass
are listed; 1,124 prompts that no tool fits: gold passes, any call fails; 400 sets of parallel calls
by multiset. Every verdict is compared with that of the package's own checkers (`peer`).
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import json
import random
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from bfcl_peer import Peer  # beside this file

from munro.envs import Message, Task, ToolCall
from munro.envs.bfcl import BFCL
from munro.envs.bfcl.child import Interfaces
from munro.envs.bfcl.package import CATEGORIES, CONVERSATIONS, RESTRAINT, Package
from munro.envs.bfcl.scene import Scene
from munro.envs.check import played
from munro.rewards.types import Grade

PARALLEL = ("parallel", "parallel_multiple")
MUST_FAIL = 0.95
"""Of the attempts with a wrong argument."""

FIGURES = (
    *("conversations", "gold", "gold_of_128", "noop", "absent_calls", "unchanged", "peer_agrees"),
    *("wrong", "wrong_failed", "wrong_peer_agrees"),
    *("parallel", "parallel_gold", "other", "other_gold"),
    *("restraint", "restraint_gold", "restraint_called"),
    *("matched_wrong", "matched_wrong_failed", "matched_peer_agrees"),
)

Turns = list[list[list[Any]]]


def main() -> None:
    """Play everything; one line of JSON at the end, and a status that says whether it held."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", default="")
    parser.add_argument("--damaged", type=int, default=4, help="attempts a task of one turn")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--categories", nargs="*", default=CATEGORIES, choices=CATEGORIES)
    options = parser.parse_args()
    found = measured(options.data, options.categories, options.damaged, options.seed)
    say(json.dumps(found))
    if broken := [what for what, held in held_of(found).items() if not held]:
        sys.exit(f"not shown: {', '.join(broken)}")


def measured(data: str, categories: Sequence[str], damaged: int, seed: int) -> dict[str, Any]:
    """All figures.

    Args:
        data: folder of the package; where Python finds it unless given.
        categories: of the package.
        damaged: attempts with a wrong argument at each task of one turn.
        seed: of the damage.
    """
    peer = Peer(Package(data).home)
    talks = [name for name in categories if name in CONVERSATIONS]
    singles = [name for name in categories if name not in CONVERSATIONS]
    found: Counter[str] = Counter()
    left_out: list[str] = []
    if talks:
        found += conversations(data, talks, peer, seed)
    if singles:
        env = BFCL(data, categories=singles, test_share=0)
        left_out = env.left_out
        found += single_turns(env, peer, damaged, seed)
    return {name: found[name] for name in FIGURES} | {"left_out": left_out}


def held_of(found: dict[str, Any]) -> dict[str, bool]:
    """By what had to be shown, whether it was: of the categories that were played."""
    return {
        "gold conversations": found["gold"] == found["gold_of_128"] == found["conversations"],
        "doing nothing": found["noop"] == found["absent_calls"] == 0,
        "wrong arguments": found["wrong_failed"] >= MUST_FAIL * found["wrong"],
        "no tool": found["restraint_gold"] == found["restraint"],
        "no call where none fits": found["restraint_called"] == 0,
        "parallel calls": found["parallel_gold"] == found["parallel"],
        "other calls": found["other_gold"] == found["other"],
        "wrong calls": found["matched_wrong_failed"] >= MUST_FAIL * found["matched_wrong"],
    }


def conversations(data: str, categories: Sequence[str], peer: Peer, seed: int) -> Counter[str]:
    """Gold, nothing, what is not there, and wrong arguments."""
    env = BFCL(data, categories=categories, test_share=0)
    wide = BFCL(data, categories=categories, test_share=0, tools="all")
    package = env.package
    interfaces = Interfaces(package.home)
    rng = random.Random(seed)
    num: Counter[str] = Counter()
    for task in env.tasks("train"):
        category, row = env.row(task)
        scene = Scene(row, category, package)
        gold = scene.gold
        num["conversations"] += 1
        num["gold"] += passes(env, task, turns_of(gold))
        num["noop"] += passes(env, task, [[] for _ in gold])
        num["absent_calls"] += passes(env, task, turns_of([[["absent", {}]] for _ in gold]))
        idle = [[] for _ in gold]
        num["unchanged"] += not interfaces.judged(scene.data, idle, gold)[-1]["differ"]
        num["peer_agrees"] += peer.judged(row, gold)
        if wrong := damaged_conversation(gold, rng):
            attempt, what = wrong
            accepted = passes(env, task, turns_of(attempt))
            num["wrong"] += 1
            num["wrong_failed"] += not accepted
            num["wrong_peer_agrees"] += peer.judged(row, attempt) == accepted
            if accepted:
                say(f"accepted: {task.id}: {what}")
    shown = Counter(len(task.tools) for task in wide.tasks("train"))
    for task in wide.tasks("train"):
        num["gold_of_128"] += passes(wide, task, turns_of(wide.scene(task).gold))
    say(f"tools shown, and in how many tasks: {dict(shown)}")
    return num


def single_turns(env: BFCL, peer: Peer, damaged: int, seed: int) -> Counter[str]:
    """Right calls, damaged ones, and calls where none fits."""
    rng = random.Random(seed)
    num: Counter[str] = Counter()
    for task in env.tasks("train"):
        category, row = env.row(task)
        gold = env.gold_calls(task)
        if category in RESTRAINT:
            num["restraint"] += 1
            num["restraint_gold"] += passes(env, task, [[]])
            tool = task.tools[0]["function"]["name"] if task.tools else "anything"
            num["restraint_called"] += passes(env, task, [[[tool, {}]]])
            continue
        kind = "parallel" if category in PARALLEL else "other"
        num[kind] += 1
        num[f"{kind}_gold"] += passes(env, task, [rng.sample(gold, len(gold))])
        for _ in range(damaged):
            attempt = damaged_calls(gold, rng)
            if attempt is None:
                continue
            accepted = passes(env, task, [attempt])
            num["matched_wrong"] += 1
            num["matched_wrong_failed"] += not accepted
            num["matched_peer_agrees"] += peer.matched(row, category, attempt) == accepted
    return num


def passes(env: BFCL, task: Task, turns: Sequence[Sequence[Sequence[Any]]]) -> bool:
    """Whether an attempt passes that makes these calls, a list for each turn of the policy."""
    said = iter([message_of(calls) for calls in turns])
    grade: Grade = asyncio.run(played(env, task, lambda seen: next(said))).grade  # noqa: ARG005
    return grade.solved


def turns_of(gold: Turns) -> Turns:
    """The policy's turns for the calls of each turn of the user, as many at once as it takes."""
    return [turn for calls in gold for turn in ([calls, []] if calls else [[]])]


def message_of(calls: Iterable[Sequence[Any]]) -> Message:
    """A policy's turn, its calls as JSON."""
    made = tuple(
        ToolCall(id=f"c{number}", name=name, arguments=json.dumps(arguments))
        for number, (name, arguments) in enumerate(calls)
    )
    content = "" if made else "done"
    return Message(role="assistant", content=content, tool_calls=made, is_sampled=True)


def damaged_conversation(gold: Turns, rng: random.Random) -> tuple[Turns, str] | None:
    """The same with one wrong argument, and which one; None where no call has any."""
    places = [
        (turn, number, key)
        for turn, calls in enumerate(gold)
        for number, (_, arguments) in enumerate(calls)
        for key in arguments
    ]
    if not places:
        return None
    turn, number, key = rng.choice(places)
    made = copy.deepcopy(gold)
    name, arguments = made[turn][number]
    right = arguments[key]
    arguments[key] = damaged(right, rng)
    return made, f"turn {turn}, {name}({key}={right!r:.60}) became {arguments[key]!r:.60}"


def damaged_calls(gold: Sequence[Any], rng: random.Random) -> list[Any] | None:
    """The same with one wrong argument; None where there is none."""
    made = copy.deepcopy(list(gold))
    places = [(number, key) for number, (_, given) in enumerate(made) for key in given]
    if not places:
        return None
    number, key = rng.choice(places)
    made[number][1][key] = damaged(made[number][1][key], rng)
    return made


def damaged(value: Any, rng: random.Random) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + rng.choice((1, 7, 100))
    if isinstance(value, str):
        return value + rng.choice(("x", " no", "9"))
    if isinstance(value, list):
        return [*value[:-1], damaged(value[-1], rng)] if value else ["x"]
    if isinstance(value, dict) and value:
        key = rng.choice([*value])
        return value | {key: damaged(value[key], rng)}
    return "x"


def say(line: str) -> None:
    """One line for a person."""
    print(line, flush=True)


if __name__ == "__main__":
    main()
