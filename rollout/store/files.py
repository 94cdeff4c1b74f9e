"""One Parquet file of the rollout store: whole or not there, and readable when its end is lost.

    PAR1 | room: footer, compressed, with its checksum | row groups ... | footer | PAR1

Parquet keeps at a file's end what says where everything is, so a file that was cut short is lost
as a whole. Ours keep a second copy before the first row group, in room that readers skip: from a
file that was cut (an incomplete copy, a damaged disk), every row group before the cut is read.
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow.fs import LocalFileSystem

from munro.rollout.store.rows import SCHEMA, completed

PARQUET = b"PAR1"
MARK = b"munro-footer-1"
HEAD = struct.Struct(f"<{len(MARK)}sIII")
"""Mark, room in bytes, length of the compressed footer, its CRC-32."""
ROOM = 4096
ROOM_PER_GROUP = 1024
STATISTICS = ["step", "index"]
STEPS_KEY = b"munro.steps"

CHECKED = ds.ParquetFileFormat(
    default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True)
)


def write(
    path: Path,
    steps: Sequence[int],
    tables: Callable[[], Iterable[pa.Table]],
    *,
    most_groups: int,
) -> None:
    """Write every table as a row group; the file gets its name when it is on the disk.

    Args:
        path: replaced where it exists.
        steps: those that the file is to hold, also such as have no rows.
        tables: gives them anew at every call, which may be more than one.
        most_groups: as many or more than there are tables.

    Raises:
        OSError: the disk refused; what stood at `path` is untouched.
    """
    give_name(draft(path, steps, tables, most_groups=most_groups), path)


def draft(
    path: Path,
    steps: Sequence[int],
    tables: Callable[[], Iterable[pa.Table]],
    *,
    most_groups: int,
) -> Path:
    """As `write`, but for the name: the file that is on the disk, for `give_name`."""
    made = path.with_name(f".{path.name}.{os.getpid()}")
    room = ROOM + ROOM_PER_GROUP * most_groups
    try:
        while not _drafted(made, steps, tables(), room):
            room *= 2
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            made.unlink()
        raise
    return made


def give_name(made: Path, path: Path) -> None:
    """Let a draft be the file at `path`."""
    made.replace(path)
    _flush(path.parent)


def _drafted(made: Path, steps: Sequence[int], tables: Iterable[pa.Table], room: int) -> bool:
    """Write the file with this much room in front; False where that is too little."""
    schema = SCHEMA.with_metadata({STEPS_KEY: ",".join(map(str, steps))})
    options = {"compression": "zstd", "write_page_checksum": True, "write_statistics": STATISTICS}
    with pa.OSFile(str(made), "wb") as sink, pq.ParquetWriter(sink, schema, **options) as writer:
        sink.write(HEAD.pack(MARK, room, 0, 0).ljust(room, b"\0"))
        for table in tables:
            writer.write_table(table.cast(schema), row_group_size=max(table.num_rows, 1))
    with made.open("r+b") as file:
        footer = zlib.compress(_footer(file))
        if HEAD.size + len(footer) > room:
            return False
        file.seek(len(PARQUET))
        file.write(HEAD.pack(MARK, room, len(footer), zlib.crc32(footer)) + footer)
        file.flush()
        os.fsync(file.fileno())
    return True


def _footer(file: io.BufferedRandom) -> bytes:
    """The footer with its length and the closing magic."""
    end = file.seek(-len(PARQUET) - 4, os.SEEK_END)
    (length,) = struct.unpack("<I", file.read(4))
    file.seek(end - length)
    return file.read()


def _front_metadata(path: Path) -> pq.FileMetaData | None:
    """What the copy of the footer at the file's front says; None where there is none."""
    with path.open("rb") as file:
        head = file.read(len(PARQUET) + HEAD.size)[len(PARQUET) :]
        if len(head) < HEAD.size:
            return None
        mark, _, length, checksum = HEAD.unpack(head)
        footer = file.read(length) if mark == MARK else b""
    if not footer or zlib.crc32(footer) != checksum:
        return None
    return pq.read_metadata(io.BytesIO(PARQUET + zlib.decompress(footer)))


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Part:
    """An open file of the store."""

    path: Path
    file: pq.ParquetFile
    steps: tuple[int, ...]
    """Those it holds or once held, in order."""
    is_cut: bool
    """Its end is missing."""
    num_whole: int
    """Row groups, from the front, that are there wholly."""

    def groups_of(self, steps: Sequence[int]) -> list[int]:
        """Numbers of the row groups that may hold rows of these steps, lost ones included."""
        if set(self.steps) <= set(steps):
            return list(range(self.file.num_row_groups))
        wanted = sorted(steps)
        column = self.file.schema_arrow.get_field_index("step")
        found = []
        for number in range(self.file.num_row_groups):
            seen = self.file.metadata.row_group(number).column(column).statistics
            if any(seen.min <= step <= seen.max for step in wanted):
                found.append(number)
        return found

    def lost(self, steps: Sequence[int]) -> list[int]:
        """Numbers of the row groups of these steps that the cut took."""
        return [number for number in self.groups_of(steps) if number >= self.num_whole]

    def read(self, step: int) -> pa.Table:
        """All rows of one step."""
        tables = [self.file.read_row_group(number) for number in self.groups_of([step])]
        rows = pa.concat_tables(tables) if tables else SCHEMA.empty_table()
        return rows if self.steps == (step,) else rows.filter(pc.field("step") == step)

    def batches(
        self, columns: Sequence[str], where: pc.Expression | None, steps: Sequence[int]
    ) -> Iterator[pa.RecordBatch]:
        """Rows of these steps that are there, in order, some at a time."""
        groups = [number for number in self.groups_of(steps) if number < self.num_whole]
        if not set(self.steps) <= set(steps):
            of_steps = pc.field("step").isin(pa.array(steps, pa.int32()))
            where = of_steps if where is None else where & of_steps
        if not groups:
            return
        if self.is_cut:
            for number in groups:
                rows = ds.dataset(completed(self.file.read_row_group(number)))
                yield from rows.to_batches(columns=list(columns), filter=where)
            return
        fragment = CHECKED.make_fragment(str(self.path), LocalFileSystem(), row_groups=groups)
        yield from fragment.to_batches(
            schema=SCHEMA,
            columns=list(columns),
            filter=where,
            batch_readahead=1,
            fragment_readahead=1,
        )


@contextmanager
def opened(path: Path) -> Iterator[Part]:
    """Open a file of the store, by the copy of its footer where its end is missing.

    Raises:
        OSError, pa.ArrowInvalid: it is not there, or damaged beyond that.
    """
    metadata, is_cut = None, False
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
    except (OSError, pa.ArrowInvalid) as error:
        if isinstance(error, FileNotFoundError) or (metadata := _front_metadata(path)) is None:
            raise
        is_cut = True
        file = pq.ParquetFile(path, metadata=metadata, page_checksum_verification=True)
    with file:
        named = (file.metadata.metadata or {}).get(STEPS_KEY)
        numbers = named.decode().split(",") if named else path.stem.split("-")[1:2]
        whole = _num_whole(file.metadata, path.stat().st_size) if is_cut else file.num_row_groups
        yield Part(path, file, tuple(int(number) for number in numbers), is_cut, whole)


def _num_whole(metadata: pq.FileMetaData, size: int) -> int:
    """Row groups that end within the first `size` bytes."""
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for place in range(group.num_columns):
            column = group.column(place)
            starts = [column.data_page_offset]
            if column.has_dictionary_page and column.dictionary_page_offset:
                starts.append(column.dictionary_page_offset)
            if min(starts) + column.total_compressed_size > size:
                return number
    return int(metadata.num_row_groups)
