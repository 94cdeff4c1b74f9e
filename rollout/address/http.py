"""As much of HTTP/1.1 as the clients of a language model speak, over asyncio's streams."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

MOST_HEAD = 1 << 16
"""Bytes of a request before its body."""
MOST_BODY = 1 << 24
IDLE_S = 600.0
"""Seconds that a connection may be silent between two requests, or within one."""
LOOK_S = 0.2
"""Between two looks whether the client is still there."""


class Malformed(Exception):
    """Not HTTP, or more of it than is read; the text is for the client."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request."""

    method: str
    path: str
    """Without what follows a question mark."""
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered."""

    status: int
    body: bytes
    kind: str = "application/json"

    @classmethod
    def json(cls, status: int, value: Any) -> Reply:
        """A value as JSON."""
        return cls(status, json.dumps(value).encode())


Handle = Callable[[Asked], Awaitable[Reply]]


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handle: Handle) -> None:
    """Answer one connection's requests, one after another, until it is closed.

    A request whose client goes away before it is answered is cancelled.
    """
    try:
        while True:
            try:
                async with asyncio.timeout(IDLE_S):
                    asked = await _read(reader, writer)
            except Malformed as error:
                _write(writer, Reply.json(error.status, {"error": {"message": str(error)}}), True)
                await writer.drain()
                return
            if asked is None:
                return
            reply = await _unless_gone(handle(asked), reader)
            if reply is None:
                return
            closes = asked.headers.get("connection", "").lower() == "close"
            _write(writer, reply, closes)
            await writer.drain()
            if closes:
                return
    except (ConnectionError, TimeoutError, asyncio.IncompleteReadError):
        pass  # the client is gone: there is nobody to tell
    finally:
        writer.close()
        with suppress(ConnectionError, TimeoutError):
            await writer.wait_closed()


async def _unless_gone(work: Awaitable[Reply], reader: asyncio.StreamReader) -> Reply | None:
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=LOOK_S)
            if reader.at_eof() and not task.done():
                return None
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Asked | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial.strip():
            raise Malformed(400, "the request ends before its headers do") from error
        return None
    except asyncio.LimitOverrunError as error:
        raise Malformed(431, f"more than {MOST_HEAD} bytes of headers") from error
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise Malformed(400, "that is no request of HTTP/1.1")
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    if "chunked" in headers.get("transfer-encoding", "").lower():
        body = await _chunks(reader)
    else:
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit():
            raise Malformed(400, "Content-Length is no number")
        _refuse_large(int(length))
        body = await reader.readexactly(int(length))
    return Asked(method=parts[0], path=parts[1].partition("?")[0], headers=headers, body=body)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while True:
        line = (await reader.readline()).partition(b";")[0].strip()
        try:
            size = int(line, 16)
        except ValueError as error:
            raise Malformed(400, "a chunk's length is no number") from error
        if size < 0:
            raise Malformed(400, "a chunk's length is negative")
        _refuse_large(len(body) + size)
        if size == 0:
            break
        body += await reader.readexactly(size)
        await reader.readline()
    while (await reader.readline()).strip():
        pass  # trailers
    return bytes(body)


def _refuse_large(num_bytes: int) -> None:
    if num_bytes > MOST_BODY:
        raise Malformed(413, f"a request of more than {MOST_BODY} bytes")


def _write(writer: asyncio.StreamWriter, reply: Reply, closes: bool) -> None:
    lines = [
        f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}",
        f"Content-Type: {reply.kind}",
        f"Content-Length: {len(reply.body)}",
        f"Connection: {'close' if closes else 'keep-alive'}",
    ]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + reply.body)
