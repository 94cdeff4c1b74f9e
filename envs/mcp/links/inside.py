"""Runs a server inside the sandbox, between its pipes and ours. Its source is sent there.

    python -c SOURCE COMMAND...

Ends the server as soon as its own stdin ends, and writes an empty line now and then where nothing
is being said, so that the other side is heard.
"""

from __future__ import annotations

import os
import queue
import select
import subprocess
import sys
import threading
from contextlib import suppress

BEAT_S = 0.1


def main() -> int:
    """Run the command of the command line; return its exit status."""
    server = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdin is not None
    assert server.stdout is not None
    given: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    into, out = server.stdin, server.stdout.fileno()

    def hear() -> None:
        while chunk := os.read(0, 1 << 16):
            given.put(chunk)
        server.kill()

    def hand_on() -> None:
        with suppress(OSError):  # the server has ended, which is seen at its output
            while True:
                into.write(given.get())
                into.flush()

    for work in (hear, hand_on):
        threading.Thread(target=work, daemon=True).start()
    between = True
    while True:
        ready, _, _ = select.select([out], [], [], BEAT_S)
        if not ready and not between:
            continue
        chunk = os.read(out, 1 << 16) if ready else b"\n"
        if not chunk:
            return server.wait()
        between = chunk.endswith(b"\n")
        while chunk:
            chunk = chunk[os.write(1, chunk) :]


if __name__ == "__main__":
    sys.exit(main())
