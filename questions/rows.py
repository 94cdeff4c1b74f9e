"""Rows of files that others wrote: JSON lines, Parquet, plain lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from munro.questions.errors import QuestionsError


def text_in(value: Any) -> str:
    """A text, the last message of a conversation, or anything else as JSON; nothing of none."""
    if isinstance(value, list) and value and isinstance(value[-1], dict):
        value = value[-1].get("content") or value[-1].get("value") or ""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def rows_of(file: Path) -> Iterator[tuple[str, Any]]:
    """(place, row) of a .jsonl or .parquet file, (place, line) of any other.

    Raises:
        QuestionsError: it cannot be read.
    """
    suffix = file.suffix.lower()
    try:
        if suffix == ".parquet":
            yield from _parquet(file)
            return
        with file.open(encoding="utf-8-sig", errors="replace") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                place = f"{file.name}:{number}"
                if suffix in (".jsonl", ".json", ".ndjson"):
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise QuestionsError(f"{place} is not a JSON object: write one a line.")
                    yield place, row
                else:
                    yield place, line
    except OSError as error:
        raise QuestionsError(f"{file} cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise QuestionsError(
            f"{file} is not JSON lines: {error}. Write one object a line."
        ) from error


def _parquet(file: Path) -> Iterator[tuple[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as table:
            number = 0
            for batch in table.iter_batches(4096):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{file.name}:{number}", row
    except (pa.ArrowException, OSError) as error:
        raise QuestionsError(f"{file} is not a whole Parquet file ({error}).") from error
