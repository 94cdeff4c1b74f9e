"""Messages as lines: cut out of chunks, bounded in size, and paired with what asked for them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

ID = re.compile(rb'"id"\s*:\s*(\d+|"[^"\\]{1,64}")')
ENDS = 256
"""Bytes of either end of a line that are kept where it is too long."""


@dataclass(frozen=True, slots=True)
class TooLong:
    """A line that was not read.

    Example:
        TooLong(head=b'{"jsonrpc":"2.0","id":3,"result":', tail=b'"}]}}', size=52428800)
    """

    head: bytes
    tail: bytes
    size: int


@dataclass(slots=True)
class Cutter:
    """Lines out of chunks; of one that is longer than `most_bytes` only its ends are kept."""

    most_bytes: int
    _begun: bytearray = field(default_factory=bytearray)
    _tail: bytes = b""
    _dropped: int = 0

    def take(self, chunk: bytes) -> Iterator[bytes | TooLong]:
        """The lines that end in this chunk."""
        *ended, rest = chunk.split(b"\n")
        for part in ended:
            self._add(part)
            yield self._line()
        self._add(rest)

    def _add(self, part: bytes) -> None:
        if not self._dropped and len(self._begun) + len(part) <= self.most_bytes:
            self._begun += part
            return
        if not self._dropped:
            self._tail = bytes(self._begun[-ENDS:])
            self._dropped = len(self._begun)
            del self._begun[ENDS:]
        self._begun += part[: ENDS - len(self._begun)]
        self._dropped += len(part)
        self._tail = (self._tail + part[-ENDS:])[-ENDS:]

    def _line(self) -> bytes | TooLong:
        begun, tail, dropped = bytes(self._begun), self._tail, self._dropped
        self._begun, self._tail, self._dropped = bytearray(), b"", 0
        return TooLong(begun, tail, dropped) if dropped else begun


def asked_by(line: TooLong, open_ids: set[int | str]) -> int | str | None:
    """Which of the open requests such a line answers; None where that cannot be told."""
    if len(open_ids) == 1:
        return next(iter(open_ids))
    said: list[int | str] = []
    for found in (*ID.findall(line.head)[:1], *ID.findall(line.tail)[-1:]):
        said.append(found[1:-1].decode() if found.startswith(b'"') else int(found))
    meant = {one for one in said if one in open_ids}
    return meant.pop() if len(meant) == 1 else None
