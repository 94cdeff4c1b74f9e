"""Ranks of a test: processes forked after the imports, which cost far more than the work.

`python -m tests.forked tests.some.module FOLDER RANKS PORT` calls the module's `run(folder)` on
every rank; what it returns is pickled to `FOLDER/answer-RANK-of-RANKS.pkl`.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def run_ranks(module: str, folder: Path, ranks: int) -> list[Any]:
    """What `run` of a module comes to on each of so many ranks, which meet over gloo."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    done = subprocess.run(
        [sys.executable, "-m", "tests.forked", module, str(folder), str(ranks), str(port)],
        env=os.environ | {"PYTHONPATH": f"{ROOT}/src:{ROOT}", "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    files = [folder / f"answer-{rank}-of-{ranks}.pkl" for rank in range(ranks)]
    return [pickle.loads(file.read_bytes()) for file in files]


def _rank(module: str, folder: Path, rank: int, ranks: int, port: int) -> None:
    import torch
    from torch import distributed

    torch.set_num_threads(1)
    if ranks > 1:
        names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "MASTER_PORT": port}
        os.environ.update({name: str(value) for name, value in names.items()})
        os.environ["MASTER_ADDR"] = "127.0.0.1"
    answer = importlib.import_module(module).run(folder)
    (folder / f"answer-{rank}-of-{ranks}.pkl").write_bytes(pickle.dumps(answer))
    if distributed.is_initialized():
        distributed.destroy_process_group()


def main() -> int:
    """0 when all ranks succeed."""
    module, folder = sys.argv[1], Path(sys.argv[2])
    ranks, port = int(sys.argv[3]), int(sys.argv[4])
    importlib.import_module(module)
    context = multiprocessing.get_context("fork")
    children = [
        context.Process(target=_rank, args=(module, folder, rank, ranks, port))
        for rank in range(ranks)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
    return sum(child.exitcode != 0 for child in children)


if __name__ == "__main__":
    sys.exit(main())
