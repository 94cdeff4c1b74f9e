"""What a program said, as much of it as there is room for."""

from __future__ import annotations

from dataclasses import dataclass, field

MARK = b"\n[... %d bytes left out ...]\n"


@dataclass
class Said:
    """One stream of output. Whatever comes is taken; what there is no room for is counted.

    Example:
        said = Said(most_bytes=6, is_clipped=True)
        said.take(b"0123456789")
        said.text()             # b"012\\n[... 4 bytes left out ...]\\n789"
    """

    most_bytes: int
    is_clipped: bool = False
    """Keep the beginning and the end, rather than the beginning alone."""
    num_bytes: int = 0
    """Of all that came."""
    _head: bytearray = field(default_factory=bytearray)
    _tail: bytearray = field(default_factory=bytearray)

    def take(self, chunk: bytes) -> None:
        """The next of it."""
        self.num_bytes += len(chunk)
        room = self._head_bytes - len(self._head)
        if room > 0:
            self._head += chunk[:room]
            chunk = chunk[room:]
        if self.is_clipped and chunk:
            self._tail += chunk
            if len(self._tail) > 2 * self.most_bytes + (1 << 16):  # seldom, for it copies
                del self._tail[: -self._tail_bytes or None]

    @property
    def _head_bytes(self) -> int:
        return (self.most_bytes + 1) // 2 if self.is_clipped else self.most_bytes

    @property
    def _tail_bytes(self) -> int:
        return self.most_bytes - self._head_bytes

    @property
    def is_over(self) -> bool:
        """More came than there was room for."""
        return self.num_bytes > self.most_bytes

    @property
    def left_out(self) -> int:
        """Bytes that are not in the text."""
        return max(0, self.num_bytes - self.most_bytes)

    def text(self) -> bytes:
        """What is kept; where something is missing in the middle, a mark says how much."""
        if not self.is_clipped or not self.is_over:
            return bytes(self._head + self._tail)
        tail = self._tail[len(self._tail) - self._tail_bytes :]
        return bytes(self._head) + MARK % self.left_out + bytes(tail)
