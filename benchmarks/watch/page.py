"""A run of 100,000 attempts in a real browser: when its page is there, what an update takes.

    python benchmarks/watch/page.py [--attempts 100000] [--folder FOLDER]

Wants Chromium and playwright's Python package (`pip install playwright`; no browser of its own).
The run is made up, in a folder that is kept where one is named. Measured in the browser: from the
start of navigation to the first curves and the first attempts on the screen; then, while steps are
appended, the page's work for an update (parsing and drawing, its `update` measures), the wait for
the server's answer, and a sort, a filter and a search over all attempts. Must show: the page under
2 s, updates under 0.2 s.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from munro.envs.types import Ending, KeptTokens, Message, Task, Trajectory
from munro.machine.run.folder import RunFolder, Status
from munro.rewards.combine.compose import RewardBreakdown
from munro.rewards.types import Grade
from munro.rollout.store.store import RolloutStore
from munro.rollout.types import Attempt, Group

GROUPS, SIZE = 5, 20
"""Of a step."""
PAGE_S, UPDATE_S = 2.0, 0.2
CHROMIUM = "/usr/bin/chromium"
UPDATES = 10


def main() -> None:
    """Make the run, watch it, print the figures; one line of JSON at the end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--attempts", type=int, default=100_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--chromium", default=CHROMIUM)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        path = (options.folder or Path(scratch)) / "made"
        make(path, options.attempts // (GROUPS * SIZE))
        with watching(path) as url:
            found = measured(url, path, options.chromium)
    for name, value in found.items():
        print(f"{name:<32} {value:8.3f} s")
    worst = max(found["update, page's work"], found["update, server's answer"])
    print(json.dumps(found | {"met": found["page"] < PAGE_S and worst < UPDATE_S}))


def make(path: Path, num_steps: int) -> None:
    """A run whose metrics and attempts are noise around a rise; one that is there goes on."""
    run, rng = RunFolder(path), random.Random(0)
    store = RolloutStore(run.rollouts)
    made = [*store.steps(), 0] if run.read_info() else [0]
    if made == [0]:
        run.begin({"num_steps": num_steps}, seed=0, provenance={})
    run.metrics.truncate_after(max(made))
    for step in range(max(made) + 1, num_steps + 1):
        run.metrics.append(step, figures(step / num_steps, rng))
        groups = [group(step * GROUPS + at, step / num_steps, rng) for at in range(GROUPS)]
        store.write(step, groups, [[rng.gauss(0, 1) for _ in range(SIZE)] for _ in groups])
        if step % 100 == 0:
            print(f"made {step} of {num_steps} steps", file=sys.stderr)
    run.end(Status.STOPPED)


def figures(done: float, rng: random.Random) -> dict[str, float]:
    """Metrics of a step, as many as a climb has."""
    rate = 0.2 + 0.7 / (1 + math.exp(-8 * (done - 0.4)))
    names = (
        "pass_rate/sampled", "pass_rate/early", "pass_rate/trained", "reward/total", "reward/task",
        "reward/language", "reward/length", "policy/entropy", "policy/k", "clip/low", "clip/high",
        "clip/outer", "ratio/max", "learner/grad_norm", "policy/mismatch_kl", "response/length",
        "response/length_max", "response/truncated", "staleness/mean", "staleness/max",
        "groups/stale", "groups/trained", "groups/abandoned/too_hard", "groups/abandoned/too_easy",
        "time/step", "time/generate", "time/train", "time/sync", "speed/rollout_tokens_per_s",
        "speed/learner_tokens_per_s", "sync/proof", "rollout/unscored", "rollout/nucleus_cut",
    )  # fmt: skip
    return {name: abs(rate + rng.gauss(0, 0.05)) for name in names}


def group(index: int, done: float, rng: random.Random) -> Group:
    """A task with its attempts."""
    a, b = rng.randrange(1000), rng.randrange(1000)
    task = Task(id=f"{a}+{b}", prompt=f"What is {a} + {b}?", env="sums" if index % 3 else "words")
    attempts = tuple(attempt(a + b, rng.random() < 0.2 + 0.6 * done, rng) for _ in range(SIZE))
    return Group(index=index, task=task, attempts=attempts, early_pass_rate=0.5)


def attempt(answer: int, is_right: bool, rng: random.Random) -> Attempt:
    """A reply of forty tokens."""
    num, prompt = 40, 10
    reply = f"Column by column. <answer>{answer if is_right else answer + 1}</answer>"
    sampled = np.arange(num) >= prompt
    trajectory = Trajectory(
        token_ids=np.array([rng.randrange(30000) for _ in range(num)], np.int32),
        sampled=sampled,
        behaviour_logp=np.where(sampled, -0.3, 0).astype(np.float32),
        kept=KeptTokens.nothing(num),
        versions=np.where(sampled, 0, -1).astype(np.int32),
        ending=Ending.ANSWERED,
        messages=(Message(role="assistant", content=reply),),
        reply=reply,
    )
    paid = float(is_right)
    return Attempt(
        trajectory=trajectory,
        grade=Grade(reward=paid, passed=is_right),
        reward=RewardBreakdown(task=paid, total=paid),
    )


@contextmanager
def watching(path: Path) -> Iterator[str]:
    """`munro watch` on the run; the address of its page."""
    code = "from munro.machine.cli.main import main; main()"
    words = [sys.executable, "-c", code, "watch", str(path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield next(word for word in process.stdout.readline().split() if "://" in word)
        finally:
            process.kill()


def measured(url: str, path: Path, chromium: str) -> dict[str, float]:
    """Seconds of everything, as the browser has them."""
    from playwright.sync_api import sync_playwright

    found: dict[str, float] = {}
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1300, "height": 1000})
        page.set_default_timeout(120_000)
        # the first browser reads all files; the second finds a server that knows them
        for name in ("first page of a new server", "page"):
            page.goto("about:blank")
            began = time.monotonic()
            page.goto(url)
            page.wait_for_selector("#climb path.curve")
            page.wait_for_selector("#attempts .attempt")
            found[name] = time.monotonic() - began
        found |= updated(page, path)
        for name, does in (
            ("sort", lambda: page.select_option("#attempts select[aria-label=Order]", "tokens")),
            (
                "filter",
                lambda: page.select_option("#attempts select[aria-label=Verdict]", "failed"),
            ),
            ("search", lambda: page.fill("#attempts input[type=search]", "499 + 501")),
        ):
            with page.expect_response(lambda said: "/attempts?" in said.url) as said:
                does()
            said.value.finished()
            found[name] = said.value.request.timing["responseEnd"] / 1000
        browser.close()
    return found


def updated(page: Any, path: Path) -> dict[str, float]:
    """What an update costs page and server while steps come in, each with its attempts."""
    run, store, rng = RunFolder(path), RolloutStore(path / "rollouts"), random.Random(1)
    last = run.metrics.read()[-1]["step"]
    waits = []
    page.on(
        "requestfinished",
        lambda asked: waits.append(asked.timing["responseEnd"]) if "/news?" in asked.url else None,
    )
    page.evaluate("performance.clearMeasures('update')")
    for step in range(last + 1, last + 1 + UPDATES):
        run.metrics.append(step, figures(1.0, rng))
        groups = [group(step * GROUPS + at, 1.0, rng) for at in range(GROUPS)]
        store.write(step, groups, [[0.0] * SIZE for _ in groups])
        page.wait_for_selector(f"text=step {step:,}")
    work = page.evaluate("performance.getEntriesByName('update').map(each => each.duration)")
    return {
        "update, page's work": max(work) / 1000,
        "update, page's work, median": statistics.median(work) / 1000,
        "update, server's answer": max(waits) / 1000,
        "update, server's answer, median": statistics.median(waits) / 1000,
    }


if __name__ == "__main__":
    main()
