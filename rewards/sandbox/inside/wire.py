"""Frames over a local stream socket: a head in JSON, then bytes, and with them descriptors.

Both sides use it. Paths and arguments go as JSON text that holds one character a byte, because
what a model wrote is not always UTF-8.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Sequence
from typing import Any, cast

HEADER = struct.Struct("!IQ")
MAX_HEAD_BYTES = 16 << 20
MAX_DESCRIPTORS = 16
_CHUNK = 1 << 20

Head = dict[str, Any]


class Closed(Exception):
    """The other side is gone."""


def as_bytes(text: bytes | str) -> bytes:
    """UTF-8, with lone surrogates as they are: a program with one is wrong, not ours to refuse."""
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")


def pack(text: bytes | str) -> str:
    """One character a byte."""
    return as_bytes(text).decode("latin-1")


def unpack(text: str) -> bytes:
    """What `pack` was given, as bytes."""
    return text.encode("latin-1")


def send(
    link: socket.socket, head: Head, blobs: Sequence[bytes] = (), descriptors: Sequence[int] = ()
) -> None:
    """One frame.

    Raises:
        Closed: nobody is there to take it.
    """
    body = json.dumps(head).encode("ascii")
    frame = HEADER.pack(len(body), sum(map(len, blobs))) + body
    try:
        sent = socket.send_fds(link, [frame], list(descriptors)) if descriptors else 0
        for part in (frame[sent:], *blobs):
            if part:  # to send nothing fails too, where the other side has heard enough and left
                link.sendall(part)
    except (BrokenPipeError, ConnectionResetError) as broken:
        raise Closed from broken


def receive(link: socket.socket) -> tuple[Head, bytes, list[int]]:
    """The next frame: head, bytes and descriptors (closed on exec).

    Raises:
        Closed: the other side has gone, or does not speak in frames.
    """
    try:
        start, descriptors, _, _ = socket.recv_fds(
            link, HEADER.size, MAX_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
        )
        if not start:
            raise Closed
        start += _exactly(link, HEADER.size - len(start))
        head_size, blob_size = HEADER.unpack(start)
        if head_size > MAX_HEAD_BYTES:
            raise Closed
        head = json.loads(_exactly(link, head_size))
        return cast(Head, head), _exactly(link, blob_size), descriptors
    except ConnectionResetError as broken:
        raise Closed from broken


def _exactly(link: socket.socket, size: int) -> bytes:
    chunks = []
    while size:
        chunk = link.recv(min(size, _CHUNK))
        if not chunk:
            raise Closed
        chunks.append(chunk)
        size -= len(chunk)
    return b"".join(chunks)


def split(blob: bytes, sizes: Sequence[int]) -> list[bytes]:
    """The pieces that were sent one after another."""
    pieces, start = [], 0
    for size in sizes:
        pieces.append(blob[start : start + size])
        start += size
    return pieces
