"""From what a person named to runs that are watched, in a browser or in the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from munro.machine.run.folder import is_held, require_run
from munro.machine.watch.answers import Answers
from munro.machine.watch.server import Server
from munro.machine.watch.watched import Watched


def opened(paths: Sequence[Path]) -> list[Watched]:
    """Every run, once, by names that tell them apart; one that fetches its model yet counts.

    Raises:
        RunError: there is none at one of the paths.
    """
    unique = list({path.resolve(): path for path in paths}.values())
    for path in unique:
        if not is_held(path):
            require_run(path)
    counts = Counter(path.resolve().name for path in unique)
    return [
        Watched(path, path.resolve().name if counts[path.resolve().name] == 1 else str(path))
        for path in unique
    ]


def watch(
    paths: Sequence[Path], host: str, port: int, on_ready: Callable[[str, list[str]], None]
) -> None:
    """Serve the page until Ctrl-C.

    Args:
        paths: run folders.
        host: to listen at.
        port: 0 for a free one.
        on_ready: told the address, and what a person should know of it, a line each.

    Raises:
        RunError: there is no run.
        CannotListen: nothing can listen there.
    """
    runs = opened(paths)
    server = Server(Answers(runs), host, port)
    notes = []
    if server.is_open:
        notes.append(
            f"warning: whoever can reach {host} can read what these runs hold: there is no password"
        )
    with server:
        on_ready(server.url, notes)
        with suppress(KeyboardInterrupt):
            server.serve_forever(poll_interval=0.2)
