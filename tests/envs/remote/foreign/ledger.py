"""A task set of verifiers' v1, as somebody would write one: coins moved between accounts by tools.

Run by the interpreter that holds verifiers, never by ours.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import verifiers.v1 as vf
from pydantic import Field

NAMES = ("ada", "bo", "cy", "dee", "eve", "fay")


class LedgerState(vf.State):
    """What an attempt has made of the accounts."""

    coins: dict[str, int] = Field(default_factory=dict)
    closed: bool = False


class LedgerData(vf.TaskData):
    """One request, and what is true once it is met."""

    coins: dict[str, int]
    moves: list[tuple[str, str, int]]
    asked: str
    answer: int


class Bank(vf.Toolset[vf.ToolsetConfig, LedgerState]):
    """Tools of one attempt."""

    async def setup_task(self, task: LedgerData) -> None:
        """The accounts as the task says."""
        self._start = dict(task.coins)

    def _coins(self) -> dict[str, int]:
        if not self.state.coins:
            self.state.coins = dict(self._start)
        return self.state.coins

    @vf.tool
    async def balance(self, name: str) -> int:
        """Coins in an account."""
        return self._coins()[name]

    @vf.tool
    def move(self, source: str, target: str, coins: int) -> str:
        """Move coins from one account to another."""
        accounts = self._coins()
        if coins <= 0 or accounts[source] < coins or target not in accounts:
            raise ValueError("that cannot be moved")
        accounts[source] -= coins
        accounts[target] += coins
        return "moved"

    @vf.tool
    async def close_bank(self) -> str:
        """Close for the day: nothing more is done."""
        print("closed")  # noqa: T201 - a tool may print, to whatever stdout is
        self.state.closed = True
        return "closed"


class LedgerTask(vf.Task[LedgerData, LedgerState, vf.TaskConfig]):
    """Paid for the right accounts and the right answer."""

    @classmethod
    def toolsets(cls, config: vf.TaskConfig) -> list[vf.Toolset]:
        return [Bank(vf.ToolsetConfig())]

    @vf.stop
    async def bank_closed(self, trace: vf.Trace) -> bool:
        return trace.state.closed

    @vf.reward(weight=0.5)
    async def answered(self, trace: vf.Trace) -> float:
        numbers = re.findall(r"\d+", trace.last_reply)
        return float(numbers[-1:] == [str(self.data.answer)])

    @vf.reward(weight=0.5)
    async def moved(self, trace: vf.Trace) -> float:
        goal = dict(self.data.coins)
        for source, target, coins in self.data.moves:
            goal[source] -= coins
            goal[target] += coins
        return float(trace.state.coins == goal)

    @vf.metric
    async def tool_calls(self, trace: vf.Trace) -> float:
        return float(len(trace.tool_messages))


class LedgerConfig(vf.TasksetConfig):
    """How many, and which."""

    num: int = 40
    seed: int = 0


class Ledger(vf.Taskset[LedgerTask, LedgerConfig]):
    """Move coins, then say what is left."""

    def load(self) -> Iterator[LedgerTask]:
        for number in range(self.config.num):
            rng = random.Random(f"{self.config.seed}/{number}")
            coins = {name: rng.randint(20, 90) for name in NAMES}
            source, target = rng.sample(NAMES, 2)
            moved = rng.randint(1, 9)
            yield LedgerTask(
                LedgerData(
                    name=f"ledger-{number}",
                    system_prompt="You keep the accounts.",
                    prompt=f"Move {moved} coins from {source} to {target}, and say how many coins "
                    f"{source} has then.",
                    coins=coins,
                    moves=[(source, target, moved)],
                    asked=source,
                    answer=coins[source] - moved,
                ),
                self.config.task,
            )


def gold(data: LedgerData) -> list[object]:
    """What a perfect policy says."""
    ((source, target, coins),) = data.moves
    call = {"name": "bank_move", "arguments": {"source": source, "target": target, "coins": coins}}
    look = {"name": "bank_balance", "arguments": {"name": data.asked}}
    return [
        {"role": "assistant", "content": "", "tool_calls": [{"id": "a", **call}]},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "b", **look}]},
        f"{data.asked} has {data.answer} coins.",
    ]


__all__ = ["Ledger"]
