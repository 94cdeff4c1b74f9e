"""A climb that something of is killed every few seconds: how much of its time goes into steps.

Three raylets, three inference servers, two learner ranks, one problem worker and the climb's own
process; every `--every` seconds one of them is killed outright, which one and when by the seed: a
server 60 of 100 times, a worker 20, a learner rank 15, the climb's process 5, which is started
again at once as a scheduler would. Where the build knows how, a spare learner rank stands by, and
is never the victim. With `--against` the same list of kills meets the build of another commit too.

    python benchmarks/scale/drill.py                        # 20 minutes
    python benchmarks/scale/drill.py --against main         # and 20 more

Prints one line of JSON for each build: `ettr`, the time in steps that count over the wall-clock;
steps and tokens that were lost; seconds to repair, by role; what the journal's audit says.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]
WEIGHTS = {"server": 60, "worker": 20, "learner": 15, "driver": 5}
CLASSES = {"server": "_ServerActor", "worker": "_WorkerActor", "learner": "_Rank"}
RUNNING = {"server": 3, "worker": 1, "learner": 2}
CPUS = ("2", "2", "2")
ENVIRONMENT = '''
from munro.envs import Grade, SingleTurn, Task


class Mine(SingleTurn):
    """Write an even number of characters."""

    def tasks(self, split):
        return [Task(id=f"{split}-{i}", prompt=f"say {i}", payload={}) for i in range(64)]

    def grade(self, task, reply):
        return Grade.of(len(reply) % 2 == 0)
'''
RECIPE = """
name = "drill"
folder = "{folder}/runs"
num_steps = 1000000
env = "{folder}/mine.py:Mine"
[model]
path = "{folder}/model"
[rollout]
engine = "transformers"
servers = 3
groups_in_flight = 6
group_size = 4
num_early = 2
early_pass_rate = [0.0, 1.0]
pass_rate = [0.0, 1.0]
template = "plain"
max_context = 64
nucleus_candidates = 32
[learner]
learning_rate = 1e-5
threads = 1
ranks = 2
{standby}
[batch]
num_groups = 2
[sync]
every_steps = 2
max_staleness = 4
[length]
stages = [8]
[checkpoint]
every_steps = 10
keep = 2
[eval]
every_steps = 0
[ray]
address = "{address}"
"""


@dataclass(slots=True)
class Seen:
    """What the drill saw of one build, and what it comes to."""

    rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    """The metrics of each step that counts."""
    lost: list[dict[str, Any]] = field(default_factory=list)
    """Those of steps that were taken back."""
    at: dict[int, float] = field(default_factory=dict)
    """When a step was last seen to be done."""
    steps: list[float] = field(default_factory=list)
    """When any was."""
    pids: defaultdict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    kills: list[tuple[float, str]] = field(default_factory=list)
    back: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Seconds from a kill until as many of its role were alive as before."""
    ends: list[str] = field(default_factory=list)
    """Last words of climbs that ended by themselves."""

    def look(self, file: Path) -> None:
        """Take in the metrics as they stand."""
        text = file.read_text().splitlines() if file.exists() else []
        rows = [json.loads(line) for line in text if line.endswith("}")]
        now = {row["step"]: row for row in rows if row["step"]}
        for step in [step for step in self.rows if step not in now]:
            self.lost.append(self.rows.pop(step))
        for step in now.keys() - self.rows.keys():
            self.rows[step] = now[step]
            self.steps.append(time.monotonic())


def started(pid: int) -> float:
    """When a process began; it may have ended meanwhile."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return 0.0


def kills(seed: int, every_s: float, seconds: float) -> list[tuple[float, str, float]]:
    """(when, role, which of that role as a share) from the seed."""
    rng = random.Random(seed)
    found = []
    for number in range(1, int(seconds / every_s)):
        (role,) = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))
        found.append((number * every_s, role, rng.random()))
    return found


def made(folder: Path) -> None:
    """A tiny random model, and the environment."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from munro.base_model.model.tokenizer import train_tokenizer

    torch.manual_seed(0)
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=300, hidden_size=128, intermediate_size=192, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, head_dim=32,
            max_position_embeddings=256, tie_word_embeddings=True, initializer_range=0.2,
            bos_token_id=0, eos_token_id=1,
        )
    ).save_pretrained(folder / "model")  # fmt: skip
    text = ["say what you like, and say it again"] * 4
    train_tokenizer(text, vocab_size=300, max_context=256).save_pretrained(folder / "model")
    (folder / "mine.py").write_text(ENVIRONMENT)


class Build:
    """One build's climb on a cluster of its own."""

    def __init__(self, source: Path, folder: Path) -> None:
        self.folder, self.run = folder, folder / "runs" / "drill"
        self._env = {**os.environ, "PYTHONPATH": str(source / "src"), "OMP_NUM_THREADS": "1"}
        (folder / "runs").mkdir(parents=True)
        made(folder)
        self._raylets = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("raylets.py")), str(folder), "", *CPUS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(folder / "raylets.txt").open("w"),
            text=True,
            env=self._env,
        )
        told = self._read()
        self._temp = told["temp"]
        # a spare rank, where the build has such a thing
        has_spares = "standby" in (source / "rl" / "config.py").read_text()
        more = {"address": told["address"], "standby": "standby = 1" if has_spares else ""}
        (folder / "drill.toml").write_text(RECIPE.format(folder=folder, **more))
        self.driver = self._climb()

    def _read(self) -> Any:
        assert self._raylets.stdout is not None
        return json.loads(self._raylets.stdout.readline())

    def actors(self) -> dict[str, list[int]]:
        """Processes by role."""
        assert self._raylets.stdin is not None
        self._raylets.stdin.write("pids\n")
        self._raylets.stdin.flush()
        found: dict[str, list[int]] = {role: [] for role in CLASSES}
        for name, pid, state in self._read():
            for role, kind in CLASSES.items():
                if name == kind and state == "ALIVE" and psutil.pid_exists(pid):
                    found[role].append(pid)
        # the youngest of three ranks is the spare
        found["learner"] = sorted(found["learner"], key=started)[: RUNNING["learner"]]
        return {role: sorted(pids) for role, pids in found.items()}

    def _climb(self) -> subprocess.Popen[bytes]:
        main = "from munro.machine.cli.main import main; main()"
        return subprocess.Popen(
            [sys.executable, "-c", main, "climb", str(self.folder / "drill.toml")],
            stdout=(self.folder / "climb.txt").open("ab"),
            stderr=subprocess.STDOUT,
            env=self._env,
            start_new_session=True,
        )

    def again(self) -> None:
        """Start the climb's own process, which is gone."""
        self.driver.wait()
        self.driver = self._climb()

    def last_words(self) -> str:
        """What the climb said last."""
        lines = (self.folder / "climb.txt").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def close(self) -> None:
        """End everything."""
        if self.driver.poll() is None:
            self.driver.send_signal(signal.SIGINT)
            try:
                self.driver.wait(timeout=120)
            except subprocess.TimeoutExpired:
                self.driver.kill()
        assert self._raylets.stdin is not None
        self._raylets.stdin.close()
        self._raylets.wait(timeout=120)
        for one in psutil.process_iter(["cmdline"]):
            if any(self._temp in word for word in one.info["cmdline"] or ()):
                one.kill()
        shutil.rmtree(self._temp, ignore_errors=True)


def drill(build: Build, order: Sequence[tuple[float, str, float]], seconds: float) -> Seen:
    """Kill by the list, and look on. The clock starts with the first step."""
    seen, metrics = Seen(), build.run / "metrics.jsonl"
    while not seen.rows:
        seen.look(metrics)
        if build.driver.poll() is not None:
            raise SystemExit(f"the climb never began: {build.last_words()}")
        time.sleep(0.5)
    began, due = time.monotonic(), list(order)
    waiting: dict[str, float] = {}
    while (now := time.monotonic() - began) < seconds:
        seen.look(metrics)
        alive = build.actors()
        for role, pids in alive.items():
            seen.pids[role].update(pids)
            if role in waiting and len(pids) == RUNNING[role]:
                seen.back[role].append(time.monotonic() - waiting.pop(role))
        if build.driver.poll() is not None:
            seen.ends.append(build.last_words())
            build.again()
        if due and now >= due[0][0]:
            _, role, which = due.pop(0)
            if role == "driver":
                build.driver.kill()
                build.again()
            elif alive[role]:
                os.kill(alive[role][int(which * len(alive[role]))], signal.SIGKILL)
                waiting.setdefault(role, time.monotonic())
            seen.kills.append((time.monotonic(), role))
        time.sleep(0.2)
    return seen


def figures(build: Build, seen: Seen, seconds: float) -> dict[str, Any]:
    """What it comes to."""
    from munro.rl.control.journal import audit

    spent = sum(row.get("time/step", 0.0) for row in seen.rows.values())
    until: defaultdict[str, list[float]] = defaultdict(list)
    for at, role in seen.kills:
        following = [step for step in seen.steps if step > at]
        if following:
            until[role].append(following[0] - at)
    found = audit(build.run / "journal.jsonl")
    killed = sum(role == "server" for _, role in seen.kills)
    return {
        "ettr": round(spent / seconds, 3),
        "steps": len(seen.rows),
        "steps_lost": len(seen.lost),
        "tokens_lost": sum(row.get("rollout/tokens", 0) for row in seen.lost),
        "kills": {role: sum(one == role for _, one in seen.kills) for role in WEIGHTS},
        "next_step_s": {role: round(fmean(all_s), 1) for role, all_s in until.items()},
        "role_back_s": {role: round(fmean(all_s), 1) for role, all_s in seen.back.items()},
        "servers_started_unasked": len(seen.pids["server"]) - RUNNING["server"] - killed,
        "ended_by_itself": seen.ends,
        "trained_twice": len(found.trained_twice),
        "skipped": len(found.skipped),
        "goodput": goodput(build.run),
    }


def goodput(run: Path) -> list[str]:
    """`munro goodput`, where that build knows it."""
    done = subprocess.run(
        [sys.executable, "-c", "from munro.machine.cli.main import main; main()", "goodput", run],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.splitlines()


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """A work tree of that commit."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "build"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--detach", str(place), commit], check=True)
        try:
            yield place
        finally:
            subprocess.run([*git, "remove", "--force", str(place)], check=True)


def run(name: str, source: Path, scratch: Path, given: argparse.Namespace) -> None:
    """Drill one build and print what it comes to."""
    seconds = 60.0 * given.minutes
    build = Build(source, scratch / name)
    try:
        seen = drill(build, kills(given.seed, given.every, seconds), seconds)
    finally:
        build.close()
    sys.stdout.write(json.dumps({"build": name} | figures(build, seen, seconds), indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--every", type=float, default=20.0, help="seconds between two kills")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--against", default="", help="a commit whose build is drilled too")
    parser.add_argument("--out", type=Path, help="kept scratch folder")
    given = parser.parse_args()
    scratch = given.out or Path(tempfile.mkdtemp(prefix="drill"))
    scratch.mkdir(parents=True, exist_ok=True)
    run("this", ROOT, scratch.absolute(), given)
    if given.against:
        with checked_out(given.against) as place:
            run("against", place, scratch.absolute(), given)


if __name__ == "__main__":
    main()
