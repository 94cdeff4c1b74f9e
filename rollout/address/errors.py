"""What an agent is told when it asks for what it cannot have."""

from __future__ import annotations

from typing import Any


class Refused(Exception):
    """An error in the OpenAI API's shape.

    Example:
        Refused(400, "n must be 1", code="unsupported_value", param="n")
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str,
        param: str | None = None,
        kind: str = "invalid_request_error",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body: dict[str, Any] = {
            "error": {"message": message, "type": kind, "param": param, "code": code}
        }


def wrong(message: str, param: str | None = None, code: str = "invalid_value") -> Refused:
    """A request that is at fault."""
    return Refused(400, message, code=code, param=param)
