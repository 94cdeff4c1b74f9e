"""A climb over nodes that share no folder outlives its nodes and its own process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from munro.rl.control.journal import audit
from tests.machine.climb.roles.test_recovery import assert_every_task_is_accounted_for, last_step
from tests.machine.climbing import munro, start, wait_for_step, write_recipe

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

ROOT = Path(__file__).parents[4]
NUM_TASKS = 40
KEYS = (
    "--sync.max_staleness", "4",
    "--sync.every_steps", "2",
    "--rollout.groups_in_flight", "4",
    "--rollout.servers", "2",
    "--checkpoint.every_steps", "2",
    "--eval.every_steps", "0",
    "--ray.reserve", "true",
    "--num_steps", "1000",
    "--num_tasks", str(NUM_TASKS),
)  # fmt: skip


class Raylets:
    """The cluster of `raylets.py`."""

    def __init__(self, folder: Path, hidden: Path | str, *cpus: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        script = ROOT / "benchmarks" / "scale" / "raylets.py"
        with (folder / "raylets.txt").open("w") as words:
            self._process = subprocess.Popen(
                [sys.executable, str(script), str(folder), str(hidden), *map(str, cpus)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=words,
                text=True,
                start_new_session=True,
            )
        told = self._read()
        self.address, self._temp = told["address"], told["temp"]

    def _read(self):
        line = self._process.stdout.readline()
        assert line, "the cluster did not come up"
        return json.loads(line)

    def ask(self, order):
        self._process.stdin.write(order + "\n")
        self._process.stdin.flush()
        return self._read()

    def alive(self, kind):
        return {pid for name, pid, state in self.ask("pids") if name == kind and state == "ALIVE"}

    def close(self):
        self._process.stdin.close()
        try:
            self._process.wait(timeout=60)
        finally:
            for one in psutil.process_iter(["cmdline"]):
                if any(self._temp in word for word in one.info["cmdline"] or ()):
                    one.kill()
            shutil.rmtree(self._temp, ignore_errors=True)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "runs").mkdir()
    return tmp_path


@pytest.fixture
def raylets(folder):
    """A head without room, and two nodes; as root none of them sees the runs."""
    hidden = folder / "runs" if not os.getuid() and shutil.which("mount") else ""
    one = Raylets(folder / "nodes", hidden, 0, 2, 2)
    yield one
    one.close()


def on(driver, run, steps):
    wait_for_step(run, last_step(run) + steps, driver, within_s=500)


def test_nodes_and_the_driver_die_and_the_audit_is_the_same(folder, raylets):
    recipe, run = str(write_recipe(folder, "apart")), folder / "runs" / "apart"
    arguments = ("climb", recipe, "--ray.address", raylets.address, *KEYS)
    driver = start(*arguments)
    on(driver, run, 2)
    raylets.ask("kill _ServerActor")
    on(driver, run, 2)
    servers = raylets.alive("_ServerActor")
    raylets.ask("kill _Rank")
    on(driver, run, 2)
    if raylets.alive("_ServerActor") & servers:  # whichever node the learner was on
        servers = raylets.alive("_ServerActor")
    os.kill(driver.pid, signal.SIGKILL)
    before, _ = driver.communicate()
    driver = start(*arguments)
    said, _ = driver.communicate(timeout=900)
    assert driver.returncode == 0, before + said
    assert "found the servers and workers of the process before" in said, said
    assert_every_task_is_accounted_for(audit(run / "journal.jsonl"), NUM_TASKS)
    assert (run / "checkpoints").is_dir()
    assert raylets.alive("_ServerActor") == raylets.alive("_Keeper") == set()


def test_orphans_end_by_themselves(folder, raylets):
    recipe, run = str(write_recipe(folder, "orphans")), folder / "runs" / "orphans"
    driver = start(
        "climb", recipe, "--ray.address", raylets.address, *KEYS, "--deadlines.orphan_s", "5"
    )  # fmt: skip
    on(driver, run, 1)
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate()
    assert raylets.alive("_ServerActor")
    end = time.monotonic() + 120
    while raylets.alive("_ServerActor") | raylets.alive("_WorkerActor") | raylets.alive("_Keeper"):
        assert time.monotonic() < end
        time.sleep(0.5)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a node file systems of its own")
def test_a_model_that_one_node_does_not_see_is_refused_with_its_name(tmp_path):
    recipe = write_recipe(tmp_path, "unseen")
    raylets = Raylets(tmp_path / "nodes", tmp_path / "model", 0, 2)
    try:
        done = munro("climb", str(recipe), "--ray.address", raylets.address, *KEYS)
    finally:
        raylets.close()
    assert done.returncode == 2
    host = os.uname().nodename
    assert f"the node {host} does not see the model, {tmp_path / 'model'}" in done.stderr
