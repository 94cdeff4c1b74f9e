"""From a piece of a file to documents; what cannot be read is counted and passed over.

Files are data that others wrote: nothing in them is executed, they are read in bounded amounts,
and a file that unpacks to far more than it should stops the build.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from munro.base_model.data.config import LimitsConfig, SourceConfig
from munro.base_model.data.documents import Counts, Document
from munro.base_model.data.errors import DataError
from munro.base_model.data.read import html
from munro.base_model.data.read.pieces import PACKED, Piece, expanded

Row = tuple[str, str | bytes | dict[str, Any]]
"""Where a record is from, and the record: text, bytes, or an object of fields."""

CHUNK_BYTES = 1 << 20
ROWS_AT_ONCE = 256


def read(
    piece: Piece, source: SourceConfig, limits: LimitsConfig, counts: Counts
) -> Iterator[Document]:
    """Documents of a piece, in order; empty, undecodable, malformed and oversized ones counted."""
    most = int(limits.document_mb * 1e6)
    for key, record in records(piece, source, limits, counts):
        text = record.get(source.field) if isinstance(record, dict) else record
        if not isinstance(text, str | bytes):
            counts.dropped[f"read/no text in {source.field}"] += 1
            continue
        if len(text) > most:
            counts.dropped["read/too large"] += 1
            continue
        if piece.format == "html" and isinstance(text, bytes):
            text = html.decoded(text)
        decoded = decode(text)
        if decoded is None:
            counts.dropped["read/invalid UTF-8"] += 1
        elif not decoded.strip():
            counts.dropped["read/empty"] += 1
        else:
            group = _repository(piece) if piece.format == "code" else ""
            # a file's name may be no UTF-8, and what names a document must be
            yield Document(key=key.encode(errors="replace").decode(), text=decoded, group=group)


def records(
    piece: Piece, source: SourceConfig, limits: LimitsConfig, counts: Counts
) -> Iterator[Row]:
    """Records of a piece as they stand in the file.

    Raises:
        DataError: the file is broken as a whole, or unpacks to too much.
    """
    if piece.format in ("jsonl", "changes"):
        yield from _lines(piece, limits, counts)
    elif piece.format == "parquet":
        yield from _rows(piece, source, limits)
    elif piece.format == "huggingface":
        data = open_dataset(piece.path, source)
        for number in range(piece.start, piece.stop):
            yield f"{piece.path}#{number}", data[number]
    else:
        most = int(limits.document_mb * 1e6)
        with opened(piece) as file:
            # one byte more than is allowed tells that there is more
            yield piece.path, _read_all(file, piece, limits, most + 1)


def decode(text: str | bytes) -> str | None:
    """Text of UTF-8, without a byte order mark and with plain line ends; None where it is not."""
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError:
            return None
    else:
        try:
            text.encode()
        except UnicodeEncodeError:  # half of a surrogate pair, which JSON can write
            return None
    if "\x00" in text:
        return None
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


@contextmanager
def opened(piece: Piece) -> Iterator[IO[bytes]]:
    """The file's bytes, unpacked where its name says that it is packed."""
    import pyarrow as pa

    try:
        if not piece.path.endswith(PACKED):
            with Path(piece.path).open("rb") as plain:
                yield plain
            return
        with pa.input_stream(piece.path, compression="detect") as packed:
            yield io.BufferedReader(packed, CHUNK_BYTES)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"cannot read {piece.path} ({error}): mend or remove it.") from error


def open_dataset(path: str, source: SourceConfig) -> Any:
    """A Hugging Face data set, by a folder of `save_to_disk` or by name.

    Raises:
        DataError: `datasets` is not installed, or cannot load it.
    """
    try:
        import datasets
    except ImportError:
        raise DataError(
            f"source {source.name}: Hugging Face data sets need `pip install datasets`."
        ) from None
    folder = expanded(path)
    try:
        if not folder.is_dir():
            return datasets.load_dataset(path, split=source.split)
        data = datasets.load_from_disk(str(folder))
        return data[source.split] if isinstance(data, datasets.DatasetDict) else data
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"source {source.name}: cannot load the data set {path} ({reason})."
        ) from error


def _lines(piece: Piece, limits: LimitsConfig, counts: Counts) -> Iterator[Row]:
    """Objects of the lines that begin in the piece's span."""
    most = int(limits.document_mb * 1e6) + CHUNK_BYTES
    for at, line in _raw_lines(piece, limits, most):
        if not line.strip():
            continue
        if len(line) > most:
            counts.dropped["read/too large"] += 1
            continue
        try:
            record = json.loads(line)
        except UnicodeDecodeError:
            counts.dropped["read/invalid UTF-8"] += 1
            continue
        except (ValueError, RecursionError):
            counts.dropped["read/malformed JSON"] += 1
            continue
        if not isinstance(record, dict):
            counts.dropped["read/malformed JSON"] += 1
            continue
        yield f"{piece.path}@{at}", record


def _raw_lines(piece: Piece, limits: LimitsConfig, most: int) -> Iterator[tuple[int, bytes]]:
    """Lines with their offsets; one that is too long is cut, so that memory stays bounded."""
    with opened(piece) as file:
        packed = piece.path.endswith(PACKED)
        allowed = limits.expansion * max(piece.size_bytes, 4096)
        at = 0
        if piece.start:
            # a line belongs to the span in which it begins, so look at the byte before
            file.seek(piece.start - 1)
            at = piece.start - 1 + _skip_line(file)
        while packed or at < piece.stop:
            line = file.readline(most + 1)
            if not line:
                return
            here = at
            at += len(line)
            if len(line) > most and not line.endswith(b"\n"):
                at += _skip_line(file)
            if packed and at > allowed:
                raise _bomb(piece, limits)
            yield here, line


def _skip_line(file: IO[bytes]) -> int:
    """Read to the end of the line in bounded bites; how many bytes it was."""
    skipped = 0
    while bite := file.readline(CHUNK_BYTES):
        skipped += len(bite)
        if bite.endswith(b"\n"):
            break
    return skipped


def _rows(piece: Piece, source: SourceConfig, limits: LimitsConfig) -> Iterator[Row]:
    """Rows of some row groups. Text is read as a dictionary, so that a value repeated a million
    times is held once."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    allowed = limits.expansion * max(piece.size_bytes, 4096)
    try:
        names = pq.read_schema(piece.path).names
        if source.field not in names:
            raise DataError(
                f"source {source.name}: {piece.path} has no column {source.field!r}; it has "
                f"{', '.join(names)}. Say which holds the text: field = ..."
            )
        with pq.ParquetFile(piece.path, read_dictionary=[source.field]) as file:
            number = total = 0
            groups = range(piece.start, piece.stop)
            for batch in file.iter_batches(ROWS_AT_ONCE, row_groups=groups, columns=[source.field]):
                for value in batch.column(0):
                    text = value.as_py()
                    total += len(text) if isinstance(text, str | bytes) else 0
                    if total > allowed:
                        raise _bomb(piece, limits)
                    yield f"{piece.path}#{piece.start}.{number}", {source.field: text}
                    number += 1
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"cannot read {piece.path} ({error}): mend or remove it.") from error


def _read_all(file: IO[bytes], piece: Piece, limits: LimitsConfig, most: int) -> bytes:
    found = file.read(most)
    if len(found) > limits.expansion * max(piece.size_bytes, 4096):
        raise _bomb(piece, limits)
    return found


def _bomb(piece: Piece, limits: LimitsConfig) -> DataError:
    return DataError(
        f"{piece.path} unpacks to more than {limits.expansion:g} times its size: remove it, or "
        "raise limits.expansion if you trust it."
    )


def _repository(piece: Piece) -> str:
    below = Path(piece.path).relative_to(piece.root).parts
    return below[0] if len(below) > 1 else Path(piece.root).name
