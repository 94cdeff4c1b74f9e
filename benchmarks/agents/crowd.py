"""A group of agents on the real sandbox: many attempts, long episodes, boxes that are killed.

A scripted policy writes one command a turn, of which one in ten is slow; everything else is the
real thing: the problem worker, its episodes and tokens, the shell environment, places on the node,
boxes, what is saved after each turn, grading, and the store of rollouts. From outside, processes
that keep boxes are killed at random moments with kill -9.

    python benchmarks/agents/crowd.py                                   # 128 attempts, 200 turns
    python benchmarks/agents/crowd.py --attempts 16 --turns 20 --slow 0.2

Right is an attempt whose box holds the lines of all its commands, in order, each once. It fails
where one is scored as wrong, a box is left, more are open than may be, a saved layer is left, or
time in boxes beside commands is over a tenth. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from munro.base_model.model.tokenizer import train_tokenizer
from munro.envs.budget import Budget
from munro.envs.shell import BOX, Shell
from munro.envs.types import KeptTokens, Task
from munro.rewards.config import RewardsConfig
from munro.rewards.sandbox import Image, layer_of
from munro.rollout.config import RolloutConfig
from munro.rollout.engine import Completion, Request
from munro.rollout.problem import ProblemWorker
from munro.rollout.store.store import RolloutStore
from munro.rollout.types import Abandoned, Group

CONTEXT = 131_072
"""Room for 200 turns of the longest observations."""
QUICK = (
    "ls -l part*", "cat part{a}/module{b}.py", "grep -rn value part{a} | head -20",
    "sed -i s/value/worth/ part{a}/module{b}.py", "wc -l part*/*.py",
    "echo 'x = {turn}' > part{a}/new{turn}.py", "find . -name '*.py' | wc -l",
    "git status 2>&1 | head -3", "head -c 3000 part{a}/module{b}.py",
)  # fmt: skip
SLOW_EVERY = 10


@dataclass(slots=True)
class Spent:
    """Seconds of all boxes together, and how many there were."""

    in_boxes: float = 0.0
    in_commands: float = 0.0
    in_policy: float = 0.0
    commands: int = 0
    opened: int = 0
    open: int = 0
    peak: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Crowd(Shell):
    """Each turn runs one command in a repository; every command leaves its number."""

    def __init__(self, store: str, turns: int, most_open: int, spent: Spent) -> None:
        super().__init__(store=store)
        self.budget = Budget(
            turns=turns + 1, observation_tokens=512, wall_s=7200, start_s=300, reply_s=600,
            grade_s=300, boxes=most_open,
        )  # fmt: skip
        self._turns, self._spent = turns, spent
        modules = {
            f"part{a}/module{b}.py": "".join(f"value{n} = {n}\n" for n in range(60))
            for a in range(5)
            for b in range(8)
        }
        self._image = Image(layers=(layer_of({"log": "", **modules}, self.store),))

    def tasks(self, split: str) -> Sequence[Task]:
        return [Task(env="crowd", id=split, prompt="Run the commands.")]

    def image(self, task: Task) -> Image:  # noqa: ARG002
        return self._image

    def open_box(self, task: Task, saved: Any) -> Any:
        began = time.monotonic()
        box = super().open_box(task, saved)
        spent, run = self._spent, box.session.run

        def timed(*args: Any, **options: Any) -> Any:
            at = time.monotonic()
            try:
                return run(*args, **options)
            finally:
                with spent.lock:
                    spent.in_commands += time.monotonic() - at
                    spent.commands += 1

        def ended() -> None:
            with spent.lock:
                spent.open -= 1
                spent.in_boxes += time.monotonic() - began

        box.session.run = timed
        box.stack.callback(ended)
        with spent.lock:
            spent.opened += 1
            spent.open += 1
            spent.peak = max(spent.peak, spent.open)
        return box

    def grade(self, task: Task, reply: str, state: dict[str, Any]) -> bool:  # noqa: ARG002
        found = state[BOX].session.look("log")
        wanted = "".join(f"{turn}\n" for turn in range(self._turns))
        return found is not None and found.contents.decode() == wanted


class Scripted:
    """A policy that writes the turn's command, whatever it reads."""

    def __init__(self, tokenizer: Any, turns: int, slow_s: float, spent: Spent) -> None:
        self._turns, self._spent, self._slow_s = turns, spent, slow_s
        self._tokenizer = tokenizer
        self._known: dict[tuple[int, ...], list[int]] = {}

    async def generate(self, requests: Sequence[Request]) -> list[Completion]:
        began = time.monotonic()
        done = [self._complete(request) for request in requests]
        self._spent.in_policy += time.monotonic() - began
        return done

    def _complete(self, request: Request) -> Completion:
        *_, attempt, _, turn = request.key
        ids = self._ids(attempt, turn)
        num = min(len(ids), request.max_tokens)
        return Completion(
            token_ids=np.array(ids[:num], np.int32),
            logp=np.full(num, -0.25, np.float32),
            kept=KeptTokens.nothing(num),
            versions=np.zeros(num, np.int32),
            stopped=num == len(ids),
        )

    def _ids(self, attempt: int, turn: int) -> list[int]:
        which = (attempt % SLOW_EVERY, turn)
        if which not in self._known:
            ids = self._tokenizer.encode(self._said(*which), add_special_tokens=False)
            self._known[which] = [*ids, self._tokenizer.eos_token_id]
        return self._known[which]

    def _said(self, attempt: int, turn: int) -> str:
        if turn >= self._turns:
            return "All of it is done."
        if (attempt + turn) % SLOW_EVERY == 0:
            command = f"sleep {self._slow_s:g}"
        else:
            rng = random.Random(attempt * 1000 + turn)
            command = rng.choice(QUICK).format(a=rng.randrange(5), b=rng.randrange(8), turn=turn)
        call = {"name": "bash", "arguments": {"command": f"echo {turn} >> log; {command}"}}
        return f"<tool_call>{json.dumps(call)}</tool_call>"

    async def version(self) -> int:
        return 0

    async def close(self) -> None:
        return None


class Watch(threading.Thread):
    """Looks at processes from outside: counts and weighs them, and kills some that keep a box."""

    def __init__(self, kill_every_s: float, seed: int, most_open: int) -> None:
        super().__init__(daemon=True)
        self._most_open = most_open
        self._kill_every_s, self._rng = kill_every_s, random.Random(seed)
        self._over = threading.Event()
        self.killed = 0
        self.worker_mb, self.boxes_mb, self.keepers = 0.0, 0.0, 0
        self.worker_later_mb: list[float] = []
        self.fault: BaseException | None = None

    def run(self) -> None:
        try:
            while not self._over.wait(self._kill_every_s * (0.5 + self._rng.random())):
                self._look()
        except psutil.Error as fault:
            self.fault = fault

    def _look(self) -> None:
        me = psutil.Process()
        self.worker_later_mb.append(me.memory_info().rss / 2**20)
        self.worker_mb = max(self.worker_mb, self.worker_later_mb[-1])
        keepers, weight = keepers_of(me), 0.0
        for each in keepers:
            with suppress(psutil.Error):
                weight += each.memory_full_info().pss / 2**20
        self.boxes_mb, self.keepers = max(self.boxes_mb, weight), max(self.keepers, len(keepers))
        # one of as many as may be: where few are left, each would be killed before it is done
        chosen = self._rng.randrange(self._most_open)
        if chosen < len(keepers):
            with suppress(psutil.Error):
                self._rng.choice(keepers).send_signal(signal.SIGKILL)
                self.killed += 1

    def stop(self) -> None:
        self._over.set()
        self.join()


def keepers_of(me: psutil.Process) -> list[psutil.Process]:
    """The first process of each box: children of the template, which the launcher waits for."""
    found = []
    for launcher in me.children():
        with suppress(psutil.Error):
            for template in launcher.children():
                found += [each for each in template.children() if each.status() != "zombie"]
    return found


@contextmanager
def watched(kill_every_s: float, seed: int, most_open: int) -> Iterator[Watch]:
    """A watch for as long as this lasts."""
    watch = Watch(kill_every_s, seed, most_open)
    watch.start()
    try:
        yield watch
    finally:
        watch.stop()


async def climbed(options: argparse.Namespace, env: Crowd, spent: Spent) -> Group | Abandoned:
    """The group, as a problem worker makes it."""
    tokenizer = train_tokenizer(
        [*QUICK, "<tool_call>", '{"name": "bash"}'], vocab_size=400, max_context=CONTEXT
    )
    config = RolloutConfig(
        group_size=options.attempts, num_early=min(16, options.attempts), template="plain",
        early_pass_rate=(0.0, 1.0), pass_rate=(0.0, 1.0), top_p=1.0, retries=options.retries,
    )  # fmt: skip
    worker = ProblemWorker(
        Scripted(tokenizer, options.turns, options.slow, spent),  # type: ignore[arg-type]
        lambda _: env, tokenizer, config, RewardsConfig(), seed=options.seed,
        max_context=CONTEXT, boxes=Path(options.folder) / "slots",
    )  # fmt: skip
    (task,) = env.tasks("train")
    return await worker.solve(0, task, CONTEXT)


def main() -> None:
    """Run the group, print what it took, and exit with 1 where something does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--attempts", type=int, default=128)
    parser.add_argument("--turns", type=int, default=200)
    parser.add_argument("--slow", type=float, default=4.0, help="seconds of one command in ten")
    parser.add_argument("--most-open", type=int, default=16 * (os.cpu_count() or 1))
    parser.add_argument("--kill-every", type=float, default=2.0, help="seconds, on average")
    parser.add_argument(
        "--most-own", type=float, default=0.1, help="share of the time in boxes beside commands"
    )
    parser.add_argument("--retries", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", default="")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        options.folder = options.folder or folder
        sys.exit(played(options))


def played(options: argparse.Namespace) -> int:
    """The status to exit with."""
    spent, store = Spent(), Path(options.folder) / "layers"
    env = Crowd(str(store), options.turns, options.most_open, spent)
    assert env.sandbox.run(["true"]).is_ok
    kept = {path.name for path in store.glob("[!.]*")}
    cpu, began = time.process_time(), time.monotonic()
    with watched(options.kill_every, options.seed, options.most_open) as watch:
        group = asyncio.run(climbed(options, env, spent))
    wall_s, cpu_s = time.monotonic() - began, time.process_time() - cpu
    env.sandbox.close()
    left = [each.pid for each in psutil.Process().children(recursive=True)]
    if isinstance(group, Abandoned):
        print(f"the group was given up: {group.reason}: {group.detail}")
        return 1
    RolloutStore(Path(options.folder) / "rollouts").write(1, [group], [[0.0] * len(group.attempts)])
    (stored,) = RolloutStore(Path(options.folder) / "rollouts").read(1)
    own_s = spent.in_boxes - spent.in_commands - spent.in_policy
    early = watch.worker_later_mb[: len(watch.worker_later_mb) // 4] or [0.0]
    figures: dict[str, Any] = {
        "benchmark": "crowd",
        "attempts": len(stored.attempts),
        "turns": options.turns,
        "wrong": sum(not one.grade.solved for one in stored.attempts),
        "unscored": group.num_unscored,
        "resumed": group.num_resumed,
        "killed": watch.killed,
        "last_failure": group.detail,
        "boxes_opened": spent.opened,
        "boxes_peak": spent.peak,
        "most_open": options.most_open,
        "processes_left": len(left),
        "layers_left": len({path.name for path in store.glob("[!.]*")} - kept),
        "wall_s": round(wall_s, 1),
        "commands": spent.commands,
        "own_share": round(own_s / spent.in_boxes, 4),
        "own_ms_a_turn": round(1000 * own_s / max(spent.commands, 1), 2),
        "worker_cpu_ms_a_turn": round(1000 * cpu_s / max(spent.commands, 1), 2),
        "worker_peak_mb": round(watch.worker_mb),
        "worker_grew_mb": round(watch.worker_mb - max(early)),
        "boxes_peak_mb": round(watch.boxes_mb),
        "keepers_peak": watch.keepers,
        "tokens_longest": max(len(one.trajectory.token_ids) for one in stored.attempts),
    }
    for name, value in figures.items():
        print(f"{name:<22}{value}")
    wrongs = faults(figures, options.most_own)
    print(json.dumps(figures))
    for wrong in wrongs:
        print(f"does not hold: {wrong}", file=sys.stderr)
    return bool(wrongs)


def faults(figures: dict[str, Any], most_own: float) -> list[str]:
    """What should be otherwise, a line each."""
    told = {
        "an attempt was scored as wrong": figures["wrong"] > 0,
        "an attempt had no room for its turns": figures["tokens_longest"] >= CONTEXT,
        "a box was left": figures["processes_left"] > 0,
        "a saved layer was left": figures["layers_left"] > 0,
        "more boxes were open than may be": figures["boxes_peak"] > figures["most_open"],
        "boxes were never all taken": figures["boxes_peak"]
        < min(figures["most_open"], figures["attempts"]),
        "a lost box was not resumed": figures["killed"] > 0 == figures["resumed"],
        f"own time is over {most_own:g}": figures["own_share"] > most_own,
    }
    return [what for what, is_so in told.items() if is_so]


if __name__ == "__main__":
    main()
