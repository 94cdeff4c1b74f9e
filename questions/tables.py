"""Records in Parquet: columns follow from a dataclass, and a key says what a file was made from."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

Record = TypeVar("Record")

ROWS = 4096
"""Of a row group, and read at once."""
KEY = b"munro.key"


def write(file: Path, record: type[Any], rows: Iterable[Any], key: str) -> int:
    """All rows into a file that is in place, whole, when this returns; how many there were."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [field.name for field in fields(record)]
    schema = pa.schema([(field.name, _kind(str(field.type), pa)) for field in fields(record)])
    schema = schema.with_metadata({KEY: key.encode()})
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.draft")
    count = 0
    with pq.ParquetWriter(draft, schema, compression="zstd") as writer:
        for batch in _batches(rows):
            columns = {name: [getattr(row, name) for row in batch] for name in names}
            writer.write_table(pa.table(columns, schema=schema))
            count += len(batch)
    os.replace(draft, file)
    return count


def read(file: Path, record: type[Record]) -> Iterator[Record]:
    """The rows of a file, in order, a few thousand of them in memory."""
    import pyarrow.parquet as pq

    lists = {field.name for field in fields(record) if str(field.type).startswith("tuple")}  # type: ignore[arg-type]
    with pq.ParquetFile(file) as table:
        for batch in table.iter_batches(ROWS):
            for row in batch.to_pylist():
                yield record(**row | {name: tuple(row[name]) for name in lists})


def key_of(file: Path) -> str | None:
    """What a file was made from; None where there is no such file, or it is none of ours."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_schema(file).metadata or {}
    except (OSError, pa.ArrowException):
        return None
    return metadata[KEY].decode() if KEY in metadata else None


def num_rows(file: Path) -> int:
    """How many rows a file has."""
    import pyarrow.parquet as pq

    return int(pq.read_metadata(file).num_rows)


def _kind(annotation: str, pa: Any) -> Any:
    kinds = {
        "str": pa.large_string(),
        "int": pa.int64(),
        "float": pa.float64(),
        "tuple[int, ...]": pa.list_(pa.int64()),
        "tuple[str, ...]": pa.list_(pa.large_string()),
    }
    return kinds[annotation]


def _batches(rows: Iterable[Any]) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for row in rows:
        batch.append(row)
        if len(batch) == ROWS:
            yield batch
            batch = []
    if batch:
        yield batch
