"""Freed blocks go back to the system, whatever small ones lie between them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

BETWEEN = """
import sys
import psutil, torch
from munro.rl.policy.allocator import map_large_blocks
if sys.argv[1] == "mapped" and not map_large_blocks():
    sys.exit(3)
first = torch.empty(24 << 20, dtype=torch.uint8)  # as it is freed the threshold rises
del first
kept, large = [], []
for _ in range(40):
    large.append(torch.ones(8 << 20, dtype=torch.uint8))
    kept.append(torch.ones(4 << 10, dtype=torch.uint8))
large.clear()
print(psutil.Process().memory_info().rss >> 20)
"""


AGAIN = """
import resource, sys
import torch
from munro.rl.policy.allocator import keep_freed_blocks, map_large_blocks
if not map_large_blocks() or (sys.argv[1] == "kept" and not keep_freed_blocks()):
    sys.exit(3)
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for at in range(60):
    if at == 40:  # the heap has grown
        before = faults()
    block = torch.ones(16 << 20, dtype=torch.uint8)
    del block
print(faults() - before)
"""


def told(program: str, how: str) -> int:
    # glibc's own allocator, with its own defaults
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LD_", "MALLOC", "GLIBC"))
    }
    done = subprocess.run(
        [sys.executable, "-c", program, how], env=own, capture_output=True, text=True, check=False
    )
    if done.returncode == 3:
        pytest.skip("this C library has no such threshold")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_a_small_tensor_keeps_no_large_one_in_memory():
    assert told(BETWEEN, "mapped") < told(BETWEEN, "heap") - 200


def test_what_is_freed_while_all_weights_are_trained_is_used_again():
    assert told(AGAIN, "kept") * 4 < told(AGAIN, "mapped")  # faults of pages
