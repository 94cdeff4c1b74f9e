"""In the box: a port on its own loopback that leads to the attempt's address, and the agent.

Run as `python3 -I -c SOURCE SETTING`, SETTING being JSON: `socket`, `port`, `command`, and
`environment`. Standard library only; ends with the agent's status, and what the agent leaves behind
ends with the box's command.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from typing import Any


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def _listen(socket: str, port: int, is_there: threading.Event) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_unix_connection(socket)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pump(reader, back), _pump(there, writer))

    server = await asyncio.start_server(connected, "127.0.0.1", port, backlog=256)
    is_there.set()
    await server.serve_forever()


def main(setting: dict[str, Any]) -> int:
    """Relay, run the agent, and give its status."""
    is_there = threading.Event()
    work = _listen(setting["socket"], setting["port"], is_there)
    threading.Thread(target=asyncio.run, args=(work,), daemon=True).start()
    if not is_there.wait(30):
        sys.stderr.write("no port on the loopback of the box\n")
        return 125
    command, more = setting["command"], setting["environment"]
    try:
        status = subprocess.call(command, env={**os.environ, **more}, stdin=subprocess.DEVNULL)
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        return 127
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    ended = main(json.loads(sys.argv[1]))
    sys.stderr.flush()
    os._exit(ended)  # the relay's thread never ends
