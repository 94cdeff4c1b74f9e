"""Files of one JSON object a line, as people have them: each line strictly JSON, or named.

A byte order mark before the first line is Windows' and says nothing. NaN and infinity are no JSON,
though Python writes them, and a figure that is none would be graded as the text "nan".
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not empty, with their numbers from 1."""
    # what is no UTF-8 stays, and is refused where it matters
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        for number, text in enumerate(file, 1):
            if text.strip():
                yield number, text.strip()


def parsed(text: str) -> dict[str, Any]:
    """A line's object.

    Raises:
        ValueError: it is no JSON, or no object.
    """
    try:
        row = json.loads(text, parse_constant=_refused, parse_float=_finite)
    except RecursionError:
        raise ValueError("not JSON (nested too deeply)") from None
    except ValueError as error:
        raise ValueError(f"not JSON ({error})") from None
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    return row


def _refused(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number; leave the field out, or write null or a text")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refused(text)
