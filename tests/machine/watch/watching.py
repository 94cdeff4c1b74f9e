"""Runs to be watched, and a server over them."""

from __future__ import annotations

import json
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from threading import Thread

from munro.machine.config import RunConfig
from munro.machine.run.beside import Beside
from munro.machine.run.folder import RunFolder
from munro.machine.watch.answers import Answers
from munro.machine.watch.server import Server
from munro.machine.watch.watched import Watched
from munro.rl.control.journal import Journal
from munro.rollout.store.node import NodeStore
from munro.rollout.types import Reason
from tests.builders import make_abandoned, make_attempt, make_group, make_task
from tests.machine.builders import HOSTILE, make_run


def make_watched(path: Path, **how) -> RunFolder:
    """A made-up run that has dropped and evaluated as well; hostile wherever a model may write."""
    run = make_run(path, **how)
    store = NodeStore("here", keep_dropped=8)
    beside = Beside(run, RunConfig.model_validate({"num_steps": 9, "env": "arithmetic"}), store)
    journal = Journal(run.path / "journal.jsonl")
    for step in (3, 9):
        outcome = make_abandoned(
            Reason.TOO_HARD,
            index=step,
            task=make_task(f"hard {HOSTILE}"),
            pass_rate=0.25,
            num_attempts=4,
            attempts=tuple(make_attempt(float(at == 1)) for at in range(4)),
            detail=f"failed {HOSTILE}",
        )
        beside.dropped(step, [store.tell(outcome, None)])
        journal.abandoned(store.tell(outcome, None), step - 1)
    beside.evaluated(5, [store.tell(make_group(index=-1), None)])
    journal.close()
    return run


def answers_about(*paths: Path) -> Answers:
    """Answers about the runs in these folders."""
    return Answers([Watched(path) for path in paths])


@contextmanager
def served(*paths: Path, host: str = "127.0.0.1", port: int = 0):
    """A server over these runs, in a thread."""
    with Server(answers_about(*paths), host, port) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def get(server: Server, path: str, **headers: str):
    """Status, headers and body; JSON is read."""
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    connection.request("GET", path, headers=headers)
    said = connection.getresponse()
    body = said.read()
    connection.close()
    is_json = said.headers["Content-Type"] == "application/json"
    return said.status, said.headers, json.loads(body) if is_json else body.decode()
