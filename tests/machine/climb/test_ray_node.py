"""A climb that names no cluster has a Ray of its own, whatever ran on the machine before it."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

STARTED = """
from munro.machine.climb.cluster.node import ray_node
from munro.machine.config import RunConfig
import ray
with ray_node(RunConfig(num_steps=1, env="arithmetic", ray={"cpus": 1})):
    print("own", ray.nodes()[0]["Alive"], ray.cluster_resources()["CPU"])
"""


@pytest.mark.parametrize("told_by", ["the file", "the environment"])
def test_a_cluster_that_died_does_not_hold_it_up(told_by):
    # short, for the sockets' names
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        environment = {**os.environ, "RAY_TMPDIR": folder}
        if told_by == "the file":
            (Path(folder) / "ray").mkdir()
            (Path(folder) / "ray" / "ray_current_cluster").write_text("127.0.0.1:9")
        else:
            environment["RAY_ADDRESS"] = "127.0.0.1:9"
        command = [sys.executable, "-c", STARTED]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=200, check=False
        )
    assert done.stdout.split() == ["own", "True", "1.0"], done.stderr
