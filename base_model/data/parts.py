"""What lies between a source and its shards: documents of a part as Parquet, figures beside them.

A part is done when its `.json` is there, which is written last; everything is renamed into place.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from munro.base_model.data.documents import Counts, Document

COLUMNS = ("key", "text", "prefix", "group")
BATCH_CHARACTERS = 250_000
"""Text that is looked at together: large enough that NumPy pays, small enough for the caches."""


def batches(
    documents: Iterable[Document], characters: int = BATCH_CHARACTERS
) -> Iterator[list[Document]]:
    """Documents in lists of about so many characters."""
    batch: list[Document] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += len(document.text) + len(document.prefix)
        if size >= characters:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


class DocumentWriter:
    """Documents into a Parquet file, a batch at a time; in place once the context is left well."""

    def __init__(self, file: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        file.parent.mkdir(parents=True, exist_ok=True)
        self._file, self._draft = file, file.with_suffix(".draft")
        kinds = {"key": pa.string(), "group": pa.string()}
        self._schema = pa.schema([(name, kinds.get(name, pa.large_string())) for name in COLUMNS])
        self._writer = pq.ParquetWriter(
            self._draft, self._schema, compression="zstd", compression_level=1, use_dictionary=False
        )

    def write(self, documents: list[Document]) -> None:
        """Add a row group."""
        import pyarrow as pa

        columns = {name: [getattr(one, name) for one in documents] for name in COLUMNS}
        self._writer.write_table(pa.table(columns, schema=self._schema))

    def __enter__(self) -> DocumentWriter:
        return self

    def __exit__(self, failure: object, *_: object) -> None:
        self._writer.close()
        if failure is None:
            self._draft.replace(self._file)


def documents_of(file: Path) -> Iterator[Document]:
    """Back from the Parquet file, a row group at a time."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as parquet:
        for group in range(parquet.num_row_groups):
            columns = parquet.read_row_group(group).to_pydict()
            rows = zip(*(columns[name] for name in COLUMNS), strict=True)
            for key, text, prefix, repository in rows:
                yield Document(key=key, text=text, prefix=prefix, group=repository)


def save_array(file: Path, array: Any) -> None:
    """Write an array whole, or not at all."""
    draft = file.with_suffix(".npy.draft")
    with draft.open("wb") as out:
        np.save(out, array)
    draft.replace(file)


def save_done(file: Path, counts: Counts, **more: Any) -> None:
    """Mark a part as done, with its figures."""
    draft = file.with_suffix(".json.draft")
    draft.write_text(json.dumps({**counts.as_json(), **more}), encoding="utf-8")
    draft.replace(file)


def load_done(file: Path) -> tuple[Counts, dict[str, Any]]:
    """The figures of a part that is done."""
    raw = json.loads(file.read_text(encoding="utf-8"))
    return Counts.of_json(raw), raw
