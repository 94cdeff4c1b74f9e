"""A climb on a cluster that lacks GPUs, or a node that does not see its files, ends at once."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from uuid import uuid4

import pytest

from tests.machine.climbing import munro, write_recipe

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": f"{uuid4().hex}{uuid4().hex}"}
"""Of the cluster made here, whatever this machine has for others."""
HERE = "--node-ip-address=127.0.0.1"
WITHIN_S = 90
"""For all that is imported before; waiting for what never comes would take deadlines.start_s."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ray_node(*arguments, hidden=None):
    """`ray start` in a session of its own; with `hidden`, an empty folder lies over that one."""
    command = [str(Path(sys.executable).parent / "ray"), "start", "--block", *arguments]
    if hidden is not None:
        script = 'mount -t tmpfs none "$0" && exec "$@"'
        command = ["unshare", "-m", "sh", "-c", script, str(hidden), *command]
    return subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, **TOKEN, "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"},
    )


def end(process):
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("nodes")


@pytest.fixture(scope="module")
def address(folder):
    """A head with two GPUs, so it says, and a node that does not see the runs."""
    if os.getuid() or shutil.which("unshare") is None:
        pytest.skip("only root can give a node file systems of its own")
    hidden = folder / "runs"
    hidden.mkdir()
    port, short = free_port(), tempfile.mkdtemp(prefix="r", dir="/tmp")
    head = ray_node(
        "--head", f"--port={port}", "--num-cpus=2", "--num-gpus=2", HERE,
        "--include-dashboard=false", f"--temp-dir={short}",
    )  # fmt: skip
    time.sleep(10)
    other = ray_node(f"--address=127.0.0.1:{port}", "--num-cpus=2", HERE, hidden=hidden)
    time.sleep(10)
    assert head.poll() is None
    assert other.poll() is None
    yield f"127.0.0.1:{port}"
    end(other)
    end(head)
    shutil.rmtree(short, ignore_errors=True)


def climb(folder, address, name, *more):
    began = time.monotonic()
    recipe = str(write_recipe(folder, name))
    done = munro("climb", recipe, "--ray.address", address, *more, env=TOKEN)
    assert time.monotonic() - began < WITHIN_S
    assert done.returncode == 2, done.stdout + done.stderr
    return done.stderr.strip().splitlines()[-1]


def test_gpus_that_are_not_there_are_told_at_once(folder, address):
    said = climb(folder, address, "greedy", "--learner.ranks", "4")
    assert "munro: the recipe asks for 5 GPUs (1 server of 1 and 4 learner ranks of 1)" in said
    assert "Ray finds 2 GPUs on 2 nodes" in said


def test_a_node_that_does_not_see_the_weights_is_named(folder, address):
    weights = folder / "runs" / "weights"
    said = climb(
        folder, address, "unseen", "--sync.transport", "file", "--sync.weights_folder", str(weights)
    )
    assert f"does not see the folder of new weights, {weights}" in said
    assert "put it on a file system that all nodes share, and say where by sync.weights" in said
    assert socket.gethostname() in said
