"""Ranks are started together, heard together, and none outlives another."""

from __future__ import annotations

import os
import sys
import time

import pytest
import ray

from munro.base_model.training.cluster import over
from munro.base_model.training.launch import launch
from munro.base_model.training.trainer import TrainingError

TELL = """
import json, os
line = {name: os.environ[name] for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "LOCAL_RANK")}
os.write(1, json.dumps(line).encode() + b"\\n")
"""
OTHERS_SLEEP = """
import os, sys, time
mine = os.path.join(sys.argv[1], os.environ["RANK"])
with open(mine + ".draft", "w") as draft:
    draft.write(str(os.getpid()))
os.rename(mine + ".draft", mine)  # who looks sees all of it or nothing
while not {"0", "1"} <= {*os.listdir(sys.argv[1])}:
    time.sleep(0.01)
if os.environ["RANK"] == "0":
    time.sleep(600)
"""


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_every_rank_knows_its_place_and_is_heard():
    heard = []
    launch([sys.executable, "-c", TELL], 2, on_line=heard.append)
    assert sorted(line["RANK"] for line in heard) == ["0", "1"]
    assert {line["WORLD_SIZE"] for line in heard} == {"2"}


@pytest.mark.parametrize(
    ("end", "why"),
    [
        ("os.kill(os.getpid(), 9)", r"rank 1 of 2 died of signal 9; the same command goes on"),
        ("sys.exit(3)", r"rank 1 of 2 died with exit status 3"),
        (
            """os.write(1, b'{"error": "the disk is full"}\\n'); time.sleep(600)""",
            "the disk is full",
        ),
    ],
    ids=["killed", "failed", "told why"],
)
def test_when_one_rank_ends_the_others_are_ended_and_the_cause_is_told(tmp_path, end, why):
    with pytest.raises(TrainingError, match=why):
        launch(
            [sys.executable, "-c", f"{OTHERS_SLEEP}\nelse:\n    {end}", str(tmp_path)],
            2,
            on_line=lambda line: None,
        )
    assert not any(is_alive(int((tmp_path / rank).read_text())) for rank in "01")


@pytest.mark.ray
def test_over_a_cluster_ranks_meet_at_the_first_ones_node_and_end_together(local_ray, tmp_path):
    heard: list[dict[str, str]] = []
    over([sys.executable, "-c", TELL], 2, seen=tmp_path, on_line=heard.append)
    assert sorted(line["RANK"] for line in heard) == ["0", "1"]
    assert {line["MASTER_ADDR"] for line in heard} == {ray.util.get_node_ip_address()}
    assert {line["LOCAL_RANK"] for line in heard} == {"0"}
    fails = f"{OTHERS_SLEEP}\nelse:\n    os.kill(os.getpid(), 9)"
    pids = tmp_path / "pids"
    pids.mkdir()
    with pytest.raises(TrainingError, match="rank 1 of 2 died of signal 9"):
        over([sys.executable, "-c", fails, str(pids)], 2, seen=tmp_path, on_line=heard.append)
    end = time.monotonic() + 60
    while is_alive(int((pids / "0").read_text())) and time.monotonic() < end:
        time.sleep(0.1)
    assert not is_alive(int((pids / "0").read_text()))
