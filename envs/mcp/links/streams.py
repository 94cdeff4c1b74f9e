"""From lines to the streams of an `mcp` session, whatever carries the lines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from munro.envs.mcp.links.lines import Cutter, TooLong, asked_by

Read = Callable[[], Awaitable[bytes]]
"""The next chunk of what the server says; empty at its end."""
Write = Callable[[bytes], Awaitable[None]]


@asynccontextmanager
async def streams(
    read: Read, write: Write, most_bytes: int, on_end: Callable[[str], None]
) -> AsyncIterator[tuple[Any, Any]]:
    """The pair that a session reads and writes.

    Args:
        read: what the server says.
        write: to the server.
        most_bytes: of one message of its.
        on_end: told why nothing else will come, before the session is.
    """
    import anyio
    from mcp.shared.message import SessionMessage
    from mcp_types import JSONRPCRequest

    heard, incoming = anyio.create_memory_object_stream[Any](0)
    outgoing, said = anyio.create_memory_object_stream[Any](0)
    open_ids: set[int | str] = set()

    async def hear() -> None:
        cutter = Cutter(most_bytes)
        async with heard:
            try:
                while chunk := await read():
                    for line in cutter.take(chunk):
                        message = _message(line, open_ids, most_bytes)
                        if message is not None:
                            await heard.send(SessionMessage(message))
                on_end("it closed its output")
            except (OSError, ValueError) as error:
                on_end(f"{type(error).__name__}: {error}")
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                on_end("the session is over")

    async def say() -> None:
        async with said:
            async for message in said:
                if isinstance(message.message, JSONRPCRequest):
                    open_ids.add(message.message.id)
                text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                try:
                    await write(text.encode() + b"\n")
                except OSError as error:
                    on_end(f"it does not read: {error}")
                    await heard.aclose()
                    return

    async with anyio.create_task_group() as group:
        group.start_soon(hear)
        group.start_soon(say)
        try:
            yield incoming, outgoing
        finally:
            group.cancel_scope.cancel()
            for stream in (heard, incoming, outgoing, said):
                stream.close()


def _message(line: bytes | TooLong, open_ids: set[int | str], most_bytes: int) -> Any:
    """What a line says; None for one that is no message, as of a server that prints.

    Raises:
        ValueError: an answer is too large, and nobody knows to what.
    """
    from mcp_types import INTERNAL_ERROR, ErrorData, JSONRPCError, JSONRPCResponse
    from mcp_types import jsonrpc_message_adapter as messages

    if isinstance(line, TooLong):
        asked = asked_by(line, open_ids)
        if asked is None:
            raise ValueError(f"a message of {line.size} bytes answers nothing that was asked")
        open_ids.discard(asked)
        text = too_large(line.size, most_bytes)
        error = ErrorData(code=INTERNAL_ERROR, message=text)
        return JSONRPCError(jsonrpc="2.0", id=asked, error=error)
    try:
        message = messages.validate_json(line, by_name=False)
    except (ValueError, RecursionError):
        return None
    if isinstance(message, JSONRPCResponse | JSONRPCError) and message.id is not None:
        open_ids.discard(message.id)
    return message


def too_large(size: int, most_bytes: int) -> str:
    """What the model reads in place of an answer that is not read."""
    return f"the answer has {size} bytes, more than the {most_bytes} that are read"
