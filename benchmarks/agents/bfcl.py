"""BFCL's own tasks through real episodes: gold, nothing, damaged calls; and what the package says.

    python benchmarks/agents/bfcl.py [--data FOLDER_OF_bfcl-eval] [--damaged 4]

Must show: all 800 gold conversations pass, with the tools of the task and with all 128; doing
nothing passes in none, nor does calling what is not there (some tasks leave the state as it was:
only the answers tell); of attempts with one call of wrong arguments at least 95% fail; those that
pass are listed, as are the arguments that the mock interfaces never look at; 1,124 prompts that no
tool fits: gold passes, any call fails; 400 sets of parallel calls by multiset. Every verdict is
compared with that of the package's own checkers (`bfcl_peer`).
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
"""Of the attempts with a call of wrong arguments."""

FIGURES = (
    *("conversations", "gold", "gold_of_128", "noop", "absent_calls", "unchanged", "peer_agrees"),
    *("wrong", "wrong_failed", "wrong_told", "wrong_peer_agrees", "argument", "argument_failed"),
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
        "the part `calls` tells": found["wrong_told"] == found["wrong"],
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
    num: Counter[str] = Counter()
    blind: Counter[str] = Counter()
    for task in env.tasks("train"):
        rng = random.Random(f"{seed}/{task.id}")
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
        damage(env, task, scene, peer, num, rng)
        num.update(one_by_one(scene, interfaces, blind, rng))
    for argument, number in blind.most_common():
        say(f"{number:>5} times it was all the same: {argument}")
    shown = Counter(len(task.tools) for task in wide.tasks("train"))
    for task in wide.tasks("train"):
        num["gold_of_128"] += passes(wide, task, turns_of(wide.scene(task).gold))
    say(f"tools shown, and in how many tasks: {dict(shown)}")
    return num


def single_turns(env: BFCL, peer: Peer, damaged: int, seed: int) -> Counter[str]:
    """Right calls, damaged ones, and calls where none fits."""
    num: Counter[str] = Counter()
    for task in env.tasks("train"):
        rng = random.Random(f"{seed}/{task.id}")
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
    return graded(env, task, turns).solved


def graded(env: BFCL, task: Task, turns: Sequence[Sequence[Sequence[Any]]]) -> Grade:
    """The grade of that attempt."""
    said = iter([message_of(calls) for calls in turns])
    return asyncio.run(played(env, task, lambda seen: next(said))).grade  # noqa: ARG005


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


def damage(
    env: BFCL, task: Task, scene: Scene, peer: Peer, num: Counter[str], rng: random.Random
) -> None:
    """Play gold with one call whose arguments are wrong, and say where it passes."""
    gold = scene.gold
    places = [
        (turn, at) for turn, calls in enumerate(gold) for at, one in enumerate(calls) if one[1]
    ]
    if not places:
        return
    turn, at = rng.choice(places)
    attempt = copy.deepcopy(gold)
    name, right = gold[turn][at]
    attempt[turn][at][1] = {key: damaged(value, rng) for key, value in right.items()}
    grade = graded(env, task, turns_of(attempt))
    num["wrong"] += 1
    num["wrong_failed"] += not grade.solved
    num["wrong_told"] += grade.parts["calls"] < 1
    num["wrong_peer_agrees"] += peer.judged(scene.row, attempt) == grade.solved
    if grade.solved:
        say(f"accepted: {task.id}: turn {turn}, {name}({right!r:.90})")


def one_by_one(
    scene: Scene, interfaces: Interfaces, blind: Counter[str], rng: random.Random
) -> Counter[str]:
    """Every argument of every gold call wrong, one at a time; `blind` counts those that pass."""
    num: Counter[str] = Counter()
    gold = scene.gold
    for turn, calls in enumerate(gold):
        for at, (name, right) in enumerate(calls):
            for key, value in right.items():
                attempt = copy.deepcopy(gold)
                attempt[turn][at][1][key] = damaged(value, rng)
                judged = interfaces.judged(scene.data, gold, attempt)
                failed = any(
                    found["differ"] or found["missing"]
                    for found, wanted in zip(judged, gold, strict=True)
                    if wanted
                )
                num["argument"] += 1
                num["argument_failed"] += failed
                if not failed:
                    blind[f"{name}({key})"] += 1
    return num


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
