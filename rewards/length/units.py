"""How long a response is, in characters, words or the policy's own tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

UNITS = ("characters", "words", "tokens")


def measure(item: Mapping[str, Any], unit: str) -> int:
    """Length of an item's response in a unit; tokens are the policy's own."""
    if unit == "characters":
        return len(item["response"].strip())
    if unit == "words":
        return len(item["response"].split())
    if "num_tokens" not in item:
        raise ValueError("'num_tokens' is missing: outside of a climb measure words or characters")
    return int(item["num_tokens"])
