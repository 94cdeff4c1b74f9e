"""What a server answered, as the text of an observation: bounded, and never more than data."""

from __future__ import annotations

import json
from typing import Any

MOST_CHARACTERS = 100_000
"""Of one observation; the rollout's own bound, in tokens, is as a rule below it."""
MOST_ERROR = 300


def text_of(result: Any) -> tuple[str, str]:
    """The text of a result, and why it is an error.

    Args:
        result: `CallToolResult`; or the text of an error.

    Returns:
        What the model reads; and what the record of calls says, empty where the call did its work.
    """
    if isinstance(result, str):
        return bounded(f"Error: {result}"), result[:MOST_ERROR] or "an error"
    texts = [_block(block) for block in result.content]
    structured = result.structured_content
    if structured is not None and not any(_says(text, structured) for text in texts):
        texts.append(json.dumps(structured, ensure_ascii=False))
    text = bounded("\n".join(texts))
    if not result.is_error:
        return text, ""
    return text or "Error: the tool failed", text[:MOST_ERROR] or "the tool failed"


def bounded(text: str, most: int = MOST_CHARACTERS) -> str:
    """At most so many characters of a text, of both its ends."""
    if len(text) <= most:
        return text
    half = most // 2
    left_out = len(text) - 2 * half
    return f"{text[:half]}\n[... {left_out} characters left out ...]\n{text[-half:]}"


def _block(block: Any) -> str:
    match block.type:
        case "text":
            return str(block.text)
        case "image" | "audio":
            return f"[{block.type} {block.mime_type[:80]}, {_size(block.data)} bytes]"
        case "resource" if hasattr(block.resource, "text"):
            return str(block.resource.text)
        case "resource":
            kind = block.resource.mime_type or "of bytes"
            where = str(block.resource.uri)[:200]
            return f"[resource {kind[:80]}, {_size(block.resource.blob)} bytes, {where}]"
        case "resource_link":
            return f"[resource {block.name[:80]}, {str(block.uri)[:200]}]"
        case other:
            return f"[{other}]"


def _size(base64: str) -> int:
    return len(base64) * 3 // 4 - base64[-2:].count("=")


def _says(text: str, structured: Any) -> bool:
    """Servers say in text what they say in structure, for readers of text alone; what is no table
    they wrap in one for the structure."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    return value == structured or structured in ({"result": text}, _wrapped(structured, value))


def _wrapped(structured: Any, value: Any) -> Any:
    """`value` in a table as the structure is one, where that has one key."""
    if isinstance(structured, dict) and len(structured) == 1:
        return dict.fromkeys(structured, value)
    return None
