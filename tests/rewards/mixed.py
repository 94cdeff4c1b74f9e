"""Gradings of every kind with known verdicts, some of them poisoned, and a killer of graders.

    outcomes = run(mixture(10_000), pools, every_s=5)

A healthy input has one right verdict. A poisoned one is wrong, or has no grade: what counts is that
it is never right, that it ends, and that the others do not suffer.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from munro.rewards.config import PoolConfig, ServiceConfig
from munro.rewards.errors import EpisodeError
from munro.rewards.service import GradingService
from tests.rewards.family import children, descendants
from tests.rewards.judges import Reply, ScriptedJudge, says

POISONED_SHARE = 0.05
HUGE = 10 << 20


@dataclass(frozen=True)
class Input:
    """One grading that is asked for."""

    number: int
    kind: str
    item: dict[str, Any]
    right: bool
    """The verdict; for a poisoned input False, and no grade is as good."""
    poison: str = ""
    """What is wrong with it."""


@dataclass
class Outcome:
    """What came back, and when."""

    asked: Input
    passed: bool | None = None
    failure: str = ""
    reason: str = ""
    """What the grade says of itself."""

    @property
    def is_wrong(self) -> bool:
        """A grade, and not the right one."""
        return not self.failure and self.passed is not self.asked.right


def mixture(num: int, seed: int = 7, poisoned: float = POISONED_SHARE) -> list[Input]:
    """`num` inputs of all kinds in a random order, the same for the same seed."""
    rng = random.Random(seed)
    poisons = [(kind, make) for kind, several in POISON.items() for make in several]
    num_poisoned = round(num * poisoned)
    inputs = []
    for number in range(num):
        if number < num_poisoned:
            kind, make = poisons[number % len(poisons)]
            item, what = make(rng, number), make.__name__.removeprefix("_")
            inputs.append(Input(number, kind, item, right=False, poison=what))
        else:
            kind = rng.choices(list(HEALTHY), weights=[40, 15, 35, 10])[0]
            right = rng.random() < 0.5
            inputs.append(Input(number, kind, HEALTHY[kind](rng, number, right), right))
    rng.shuffle(inputs)
    return inputs


def _math(rng: random.Random, number: int, right: bool) -> dict[str, Any]:
    a, b = rng.randint(2, 99), rng.randint(2, 99)
    gold, answer = rng.choice(
        [
            (str(a * b), str(a * b + (not right))),
            (rf"\frac{{{a}}}{{{b}}}", rf"\frac{{{2 * a}}}{{{2 * b + (not right)}}}"),
            (rf"{a}x+{b}y", f"{b}y+{a + (not right)}x"),
            (rf"{a}\sqrt{{2}}", rf"\sqrt{{{2 * a * a + (not right)}}}"),
        ]
    )
    return {"response": rf"So it is \boxed{{{answer}}}.", "answer": gold}


def _code(rng: random.Random, number: int, right: bool) -> dict[str, Any]:
    a, b = rng.randint(2, 99), rng.randint(2, 99)
    program = f"# {number}\nprint(int(input()) * {a} + {b + (not right)})"
    return _program(program, [{"stdin": "7", "stdout": str(7 * a + b)}])


def _instructions(rng: random.Random, number: int, right: bool) -> dict[str, Any]:
    text = f"Reply {number} stands here{', and so on' * (not right)}."
    return {"response": text, "instructions": [{"id": "punctuation:no_comma"}]}


def _judge(rng: random.Random, number: int, right: bool) -> dict[str, Any]:
    verdict = "RIGHT" if right else "WRONG"
    return {"response": f"{verdict} {number}", "question": "Which?", "answer": "RIGHT"}


def _program(source: str, tests: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    return {
        "response": f"```python\n{source}\n```",
        "tests": list(tests) or [{"stdin": "", "stdout": "right"}],
        "limits": {"cpu_s": 1},
    }


def _tower(rng: random.Random, number: int) -> dict[str, Any]:
    base = rng.randint(3, 9)
    answer = f"{base}^{{" * 5 + f"{number}" + "}" * 5
    return {"response": rf"\boxed{{{answer}+\sqrt{{2}}}}", "answer": r"\sqrt{2}+z"}


def _huge_answer(rng: random.Random, number: int) -> dict[str, Any]:
    return {"response": rf"\boxed{{{number}{'9' * HUGE}}}", "answer": "1"}


def _endless_loop(rng: random.Random, number: int) -> dict[str, Any]:
    return _program(f"while True: pass  # {number}")


def _fork_bomb(rng: random.Random, number: int) -> dict[str, Any]:
    return _program(
        f"import os  # {number}\nwhile True:\n    try: os.fork()\n    except OSError: 0"
    )


def _memory_bomb(rng: random.Random, number: int) -> dict[str, Any]:
    return _program(f"x = []  # {number}\nwhile True: x.append(bytes(1 << 24))")


def _endless_print(rng: random.Random, number: int) -> dict[str, Any]:
    return _program(f"while True: print('right' * 1000)  # {number}")


def _killer(rng: random.Random, number: int) -> dict[str, Any]:
    return _program(f"import os  # {number}\nos.kill(os.getppid(), 9)\nos.kill(-1, 9)")


def _early_exit(rng: random.Random, number: int) -> dict[str, Any]:
    return _program(f"import os  # {number}\nos._exit(0)")


def _huge_text(rng: random.Random, number: int) -> dict[str, Any]:
    return {"response": f"{number}, " * (HUGE // 7), "instructions": [{"id": NO_COMMA}]}


def _nested(rng: random.Random, number: int) -> dict[str, Any]:
    listed = [{"id": "detectable_format:json_format"}]
    return {"response": "[" * (100_000 + number), "instructions": listed}


def _crash(rng: random.Random, number: int) -> dict[str, Any]:
    return {"response": "die", "note": str(number)}


def _hog(rng: random.Random, number: int) -> dict[str, Any]:
    return {"response": "loop", "note": str(number)}


def _glutton(rng: random.Random, number: int) -> dict[str, Any]:
    return {"response": "allocate", "note": str(number)}


def _silence(rng: random.Random, number: int) -> dict[str, Any]:
    return {"response": f"HANG {number}", "question": "Which?", "answer": "RIGHT"}


def _prose(rng: random.Random, number: int) -> dict[str, Any]:
    return {"response": f"PROSE {number}", "question": "Which?", "answer": "RIGHT"}


NO_COMMA = "punctuation:no_comma"
HEALTHY: dict[str, Callable[[random.Random, int, bool], dict[str, Any]]] = {
    "math": _math,
    "code": _code,
    "instructions": _instructions,
    "judge": _judge,
}
POISON: dict[str, list[Callable[[random.Random, int], dict[str, Any]]]] = {
    "math": [_tower, _huge_answer],
    "code": [
        _endless_loop,
        _fork_bomb,
        _memory_bomb,
        _endless_print,
        _killer,
        _early_exit,
    ],
    "instructions": [_huge_text, _nested],
    "child": [_crash, _hog, _glutton],
    "judge": [_silence, _prose],
}


def _verdict(body: Any) -> Reply:
    """The scripted judge: it goes by the marks that the inputs carry."""
    text = json.dumps(body["messages"])
    if "HANG" in text:
        return Reply(hangs=True)
    if "PROSE" in text:
        return Reply("I would rather tell you about cairns.")
    return says(verdict="no" if "WRONG" in text else "yes")


@dataclass
class Report:
    """What came of a run, for asserting and for printing."""

    outcomes: list[Outcome]
    seconds: float
    kills: int
    metrics: dict[str, float]
    left: list[int] = field(default_factory=list)
    """Processes of the service that are alive after its end."""

    @property
    def wrong(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.is_wrong]

    @property
    def unlucky(self) -> list[Outcome]:
        """Healthy inputs without a grade: a kill hit them more than once."""
        return [each for each in self.outcomes if each.failure and not each.asked.poison]

    def table(self) -> Iterator[str]:
        """Counts by kind, as lines."""
        yield f"{'kind':<14}{'asked':>7}{'graded':>8}{'failures':>10}{'poisoned':>10}{'wrong':>7}"
        for kind in sorted({each.asked.kind for each in self.outcomes}):
            of_kind = [each for each in self.outcomes if each.asked.kind == kind]
            failures = sum(bool(each.failure) for each in of_kind)
            poisoned = sum(bool(each.asked.poison) for each in of_kind)
            wrong = sum(each.is_wrong for each in of_kind)
            graded = len(of_kind) - failures
            yield f"{kind:<14}{len(of_kind):>7}{graded:>8}{failures:>10}{poisoned:>10}{wrong:>7}"
        yield (
            f"{len(self.outcomes)} gradings in {self.seconds:.1f} s "
            f"({len(self.outcomes) / self.seconds:.0f} per s), {self.kills} graders killed, "
            f"{len(self.unlucky)} healthy inputs without a grade, {len(self.wrong)} wrong"
        )
        for each in self.wrong:
            yield f"wrong: {each.asked.kind} {str(each.asked.item)[:200]}: {each.reason}"
        reasons = Counter(each.failure.split("(")[0][:70] for each in self.outcomes if each.failure)
        for reason, num in reasons.most_common():
            yield f"{num:>6}  {reason}"


def run(inputs: Sequence[Input], *, every_s: float, timeout_s: float, seed: int = 3) -> Report:
    """Grade them all while a grader is killed every `every_s` seconds."""
    sizes = {"timeout_s": timeout_s, "deadline_s": 300.0, "workers": 2}
    pools = {kind: PoolConfig(**sizes) for kind in (*HEALTHY, "child")}
    pools["judge"] = PoolConfig(workers=16, deadline_s=300.0)
    strangers = children()
    with ScriptedJudge(_verdict) as server, GradingService(ServiceConfig(pools=pools)) as service:
        judge = {"model": "scripted", "base_url": server.url, "backoff_s": 0.0, "retries": 1}
        judge |= {"cache": "", "timeout_s": 4 * timeout_s}
        options = {"judge": {"ask": "equivalence", "judge": judge}}
        began = time.monotonic()
        with _killing(every_s, seed, strangers) as killed:
            outcomes = _all(service, inputs, options)
        seconds = time.monotonic() - began
        family = [child.pid for child in descendants(strangers)]
        metrics = service.metrics()
    alive = [pid for pid in family if psutil.pid_exists(pid) and not _is_zombie(pid)]
    return Report(outcomes, seconds, len(killed), metrics, alive)


def _all(service: GradingService, inputs: Sequence[Input], options: Any) -> list[Outcome]:
    """Hand in each kind from a thread of its own, so that none waits at another's door."""
    outcomes: list[Outcome] = []

    def of_kind(kind: str) -> None:
        several = [each for each in inputs if each.kind == kind]
        waiting = []
        for each in several:
            group = f"task-{each.number % 97}"
            given = options.get(kind)
            waiting.append((each, service.submit(kind, each.item, options=given, group=group)))
        for each, future in waiting:
            try:
                grade = future.result(900)
                outcomes.append(Outcome(each, passed=grade.passed, reason=grade.reason))
            except EpisodeError as failure:
                outcomes.append(Outcome(each, failure=str(failure)))

    kinds = sorted({each.kind for each in inputs})
    threads = [threading.Thread(target=of_kind, args=(kind,)) for kind in kinds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


@contextmanager
def _killing(every_s: float, seed: int, strangers: Collection[int]) -> Iterator[list[int]]:
    """Kill one process of the service's machinery, now and then, until the block ends."""
    killed: list[int] = []
    over = threading.Event()
    rng = random.Random(seed)

    def kill() -> None:
        while not over.wait(every_s):
            machinery = sorted(
                child.pid
                for child in descendants(strangers)
                if _depth(child.pid) <= 2 and _serves(child)
            )
            if machinery:
                pid = rng.choice(machinery)
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
                killed.append(pid)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


def _serves(process: psutil.Process) -> bool:
    """It is up: what others are forked from does nothing before it has forked one."""
    try:
        is_first = process.ppid() == os.getpid()
        return process.status() != psutil.STATUS_ZOMBIE and bool(not is_first or process.children())
    except psutil.Error:
        return False


def _depth(pid: int) -> int:
    """Nested process namespaces: the model's own programs live in the third."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 99
    return next((len(line.split()) - 1 for line in lines if line.startswith("NSpid")), 1)


def _is_zombie(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return True
