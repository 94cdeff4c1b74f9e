"""What a way to a server has to offer."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol


class Link(Protocol):
    """One way to one server, used once."""

    @property
    def lost(self) -> str:
        """Why no other answer will come; empty while one may."""
        ...

    @property
    def last_words(self) -> str:
        """What the server said last beside its answers; for error messages."""
        ...

    def target(self) -> Any:
        """What `mcp.Client` connects to: a transport, or a server in this process."""
        ...


Transport = AbstractAsyncContextManager[Any]
