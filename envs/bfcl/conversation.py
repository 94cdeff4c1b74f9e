"""Tasks of several turns of the user, played against the package's mock interfaces.

    user     Move 'final_report.pdf' to 'temp'.
    policy   <tool_call>{"name": "mkdir", "arguments": {"dir_name": "temp"}}</tool_call>
    tool     None
    policy   It is done.                      a turn without a call hands over to the user
    user     Now sort it.                     ... and the last of them ends the episode

Graded as the package does: after every turn of the user that gold calls in, the states must be
gold's, and all answers that gold had in it must have been had.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from munro.envs.base import Episode, call
from munro.envs.bfcl.apis import Turns
from munro.envs.bfcl.child import Interfaces
from munro.envs.bfcl.scene import Scene
from munro.envs.thoughts import without_thoughts
from munro.envs.tool_use import parse_calls, strict_json
from munro.envs.types import Answer, Message, ToolCall, Trajectory
from munro.rewards.types import Grade

MOST_STEPS = 20
"""Turns of the policy with calls in one turn of the user; the next one ends the episode, failed."""
MOST_CALLS = 40
"""Calls in one turn of the policy that are carried out; the rest are refused."""
NO_CALLS = "a call is written with its arguments as a table"


class Conversation(Episode):
    """One attempt. All that it keeps is the calls that were carried out."""

    def __init__(self, scene: Scene, interfaces: Interfaces, saved: bytes = b"") -> None:
        self._scene, self._interfaces = scene, interfaces
        kept: dict[str, Any] = json.loads(saved or b"{}")
        self._turns: list[list[list[Any]]] = kept.get("turns", [[]])
        self._steps: int = kept.get("steps", 0)
        self._is_over: bool = kept.get("is_over", False)
        self._tried: list[int] = kept.get("tried", [])
        """Turns of the user in which a tool was called, whatever came of it."""

    async def reply(self, message: Message) -> Sequence[Message] | None:
        calls: Sequence[ToolCall] = message.tool_calls
        if not message.is_sampled and not calls:
            calls = parse_calls(without_thoughts(message.content))
        if not calls:
            return self._next_turn()
        self._steps += 1
        if self._steps > MOST_STEPS:
            return None
        answers = await self._answered(calls[:MOST_CALLS])
        if len(calls) > MOST_CALLS:
            answers.append(_error(calls[MOST_CALLS].id, f"more than {MOST_CALLS} calls in a turn"))
        return answers

    async def grade(self, trajectory: Trajectory) -> Grade:  # noqa: ARG002
        gold = self._scene.gold
        judged = await call(self._interfaces.judged, self._scene.data, gold, self._turns)
        if isinstance(judged, str):
            return Grade(reward=0.0, passed=False, reason=f"all its calls together: {judged}")
        return graded(gold, self._turns, judged, set(self._tried), is_whole=self._is_over)

    async def save(self) -> bytes:
        kept = {
            "turns": self._turns,
            "steps": self._steps,
            "tried": self._tried,
            "is_over": self._is_over,
        }
        return json.dumps(kept).encode()

    def _next_turn(self) -> Sequence[Message] | None:
        """What the user says next; None where that was all."""
        number = len(self._turns)
        if number >= len(self._scene.gold):
            self._is_over = True
            return None
        self._turns.append([])
        self._steps = 0
        return self._scene.asked(number)

    async def _answered(self, calls: Sequence[ToolCall]) -> list[Answer]:
        """Carry them out in order. Only what the policy did wrong becomes text."""
        turn = len(self._turns) - 1
        if any(made.name for made in calls) and turn not in self._tried:
            self._tried.append(turn)
        # as in the package: one that comes only later is there all the same, for who can guess it
        there = [*self._scene.described]
        read = [_read(made, there) for made in calls]
        good = [one for one in read if not isinstance(one, str)]
        heard: Iterator[tuple[str, str, bool]] = iter(())
        if good:
            run = self._interfaces.answers
            heard = iter(await call(run, self._scene.data, self._turns, good))
        answers = []
        for made, one in zip(calls, read, strict=True):
            if isinstance(one, str):
                answers.append(_error(made.id, one))
                continue
            text, error, is_done = next(heard)
            if is_done:
                self._turns[-1].append(one)
            answers.append(Answer(role="tool", content=text, tool_call_id=made.id, error=error))
        return answers


def graded(
    gold: Turns,
    made: Turns,
    judged: Sequence[Mapping[str, Any]],
    tried: set[int],
    *,
    is_whole: bool,
) -> Grade:
    """One grade out of the turns.

    Args:
        gold: the gold calls of each turn of the user.
        made: those that were carried out.
        judged: what `apis.judged` said of those that were reached.
        tried: turns in which anything was called.
        is_whole: the attempt came to the end of the last one by itself.
    """
    wrong: dict[int, str] = {}
    for number, (wanted, found) in enumerate(zip(gold, judged, strict=False)):
        if not wanted:
            continue  # nothing can be done in it, or something is missing: only the rest can tell
        if number not in tried:
            wrong[number] = "no tool was called"
        elif found["differ"]:
            wrong[number] = f"another end state of {', '.join(found['differ'])}"
        elif found["missing"]:
            wrong[number] = f"{found['missing']} of {len(wanted)} answers were never had"
    counted = [number for number, wanted in enumerate(gold) if wanted]
    reached = [number for number in counted if number < len(judged)]
    passed = is_whole and not wrong
    reason = "".join(f"turn {number}: {why}" for number, why in [*wrong.items()][:1])
    idle = [number for number, wanted in enumerate(gold) if not wanted]
    parts = {
        "turns": sum(number not in wrong for number in reached) / max(len(counted), 1),
        "restraint": sum(number not in tried for number in idle) / len(idle) if idle else 1.0,
        "calls": _alike(gold, made),
    }
    if not reason and not passed:
        reason = f"it ended in turn {len(judged) - 1} of 0 to {len(gold) - 1}"
    return Grade(reward=float(passed), passed=passed, parts=parts, reason=reason)


def _alike(gold: Turns, made: Turns) -> float:
    """F1 of the calls with gold's, arguments and all, in whatever turn."""
    wanted, found = (
        Counter(json.dumps(one, sort_keys=True) for calls in turns for one in calls)
        for turns in (gold, made)
    )
    return 2 * (wanted & found).total() / max(wanted.total() + found.total(), 1)


def _read(made: ToolCall, there: Sequence[str]) -> list[Any] | str:
    """A call's name and arguments, or what is wrong with it."""
    if made.error:
        return made.error
    if made.name not in there:
        return f"there is no tool {made.name[:40]!r}; there are: {', '.join(there)}"
    try:
        arguments = strict_json(made.arguments)
    except (ValueError, RecursionError) as wrong:
        return f"{made.name}: the arguments are not JSON ({str(wrong)[:100]})"
    return [made.name, arguments] if isinstance(arguments, dict) else f"{made.name}: {NO_CALLS}"


def _error(call_id: str, text: str) -> Answer:
    return Answer(role="tool", content=f"Error: {text}", tool_call_id=call_id, error=text)
