"""Rows of a data set (.jsonl, .csv, .parquet, or of the hub) as tasks, read when they are drawn.

A row is checked once, when the file is opened, and made into a task each time that it is drawn.
"""

from __future__ import annotations

import csv
import json
from array import array
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

from munro.envs.data.columns import Row, lacks, top
from munro.envs.types import Task


def place_of(text: str) -> int:
    """Where a text falls, in [0, 2 ** 32): a property of the text alone."""
    return int.from_bytes(blake2b(text.strip().encode(), digest_size=4).digest())


def bound_of(texts: Iterable[str], share: float) -> int:
    """Texts that fall below it are held out: a share, and one at least where two texts differ."""
    places = {place_of(text) for text in texts}
    bound = int(share * 2**32)
    return max(bound, min(places) + 1) if share and len(places) > 1 else bound


class Rows(Sequence[Any]):
    """Rows of one source, read one at a time."""

    def place(self, number: int) -> str:
        """How an error message calls a row."""
        raise NotImplementedError


class JsonLines(Rows):
    """A .jsonl file of which only the line starts are in memory."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._starts, self._lines = array("Q"), array("Q")
        start = 0
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.removeprefix(BOM_UTF8).strip():
                    self._starts.append(start)
                    self._lines.append(number)
                start += len(line)

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[Row]:
        with self._file.open("rb") as lines:
            filled = (line for line in lines if line.removeprefix(BOM_UTF8).strip())
            yield from (self._parsed(line, number) for number, line in enumerate(filled))

    def __getitem__(self, number: Any) -> Any:
        with self._file.open("rb") as lines:
            lines.seek(self._starts[number])
            return self._parsed(lines.readline(), number)

    def place(self, number: int) -> str:
        return f"{self._file.name}:{self._lines[number]}"

    def _parsed(self, line: bytes, number: int) -> Row:
        place = self.place(number)
        try:
            row = json.loads(line.removeprefix(BOM_UTF8).decode(), parse_constant=_refuse)
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{place} is not UTF-8 (byte {error.start + 1} of the line)."
            ) from error
        except RecursionError as error:
            raise ValueError(f"{place} is nested too deeply.") from error
        except ValueError as error:
            raise ValueError(f"{place} is not JSON: {error}.") from error
        if not isinstance(row, dict):
            raise ValueError(
                f"{place} is not a JSON object: write one a line, with the columns as its keys."
            )
        if b"\\u" in line:
            _refuse_halves(row, place)
        return row


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no value; write null where there is none")


def _refuse_halves(row: Row, place: str) -> None:
    """Halves of surrogate pairs can be escaped in JSON, and are no text for anybody."""
    for column, value in row.items():
        try:
            json.dumps([column, value], ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            name = column.encode(errors="replace").decode()
            raise ValueError(
                f"{place}: {name} holds half a surrogate pair "
                f"(\\u{ord(error.object[error.start]):x}), which is no text: mend the row."
            ) from error


class CommaSeparated(Rows):
    """A .csv file with a line of column names, whole in memory; every value is a text, and
    an empty field none, as null is in JSON."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._rows: list[Row] = []
        self._lines = array("Q")
        try:
            with file.open(newline="", encoding="utf-8-sig") as lines:
                # a field may be as long as the file is
                csv.field_size_limit(max(csv.field_size_limit(), file.stat().st_size))
                reader = csv.DictReader(lines, strict=True)
                start = 2
                for row in reader:
                    self._take(row, start)
                    start = reader.line_num + 1
        except UnicodeDecodeError as error:
            raise ValueError(f"{file.name} is not UTF-8 (byte {error.start + 1}).") from error
        except csv.Error as error:
            raise ValueError(f"{file.name}:{reader.line_num} is not CSV: {error}.") from error

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: Any) -> Any:
        return self._rows[number]

    def place(self, number: int) -> str:
        return f"{self._file.name}:{self._lines[number]}"

    def _take(self, row: dict[Any, Any], line: int) -> None:
        if None in row or None in row.values():
            count = len([value for value in row.values() if value is not None])
            raise ValueError(
                f"{self._file.name}:{line} has not as many fields as the first line has names "
                f"({len(row) - (None in row)}): it has {count}{' or more' * (None in row)}. Quote "
                "texts that hold commas or line ends."
            )
        self._rows.append({name: value or None for name, value in row.items()})
        self._lines.append(line)


class Table(Rows):
    """A Parquet file's needed columns as an Arrow table, or a data set of the hub."""

    def __init__(self, name: str, table: Any, num_rows: int) -> None:
        self._name, self._table, self._num_rows = name, table, num_rows

    def __len__(self) -> int:
        return self._num_rows

    def __getitem__(self, number: Any) -> Any:
        if not 0 <= number < self._num_rows:
            raise IndexError(number)
        row = self._table[number] if hasattr(self._table, "features") else None
        return row if row is not None else self._table.slice(number, 1).to_pylist()[0]

    def place(self, number: int) -> str:
        return f"{self._name}:{number + 1}"


class RowTasks(Sequence[Task]):
    """Some of the rows of a source, as tasks."""

    def __init__(
        self, make: Callable[[Row, str], Task], rows: Rows, numbers: Iterable[int]
    ) -> None:
        """`make` takes a row and its place ("file:line"), and raises ValueError for a bad one."""
        self._make, self._rows, self._numbers = make, rows, array("Q", numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        number = self._numbers[index]
        return self._make(self._rows[number], self._rows.place(number))


def parted(
    checked: Callable[[Rows, Callable[[str], bool]], RowTasks],
    rows: Rows,
    held_out: Rows | None,
    test_share: float,
) -> tuple[RowTasks, RowTasks]:
    """Tasks to train on, and tasks that are held out: other rows, or a share of the same.

    Args:
        checked: the tasks of rows whose text it is told to take.
        rows: to train on.
        held_out: rows for testing; None to hold out a share of `rows`, by their text alone.
        test_share: how many of them then; one at least, where there are two.

    Raises:
        ValueError: no share, or a row cannot be used.
    """
    if not 0 <= test_share < 1:
        raise ValueError(f"test_share = {test_share}: give a share in [0, 1).")
    if held_out is not None:
        return checked(rows, lambda _: True), checked(held_out, lambda _: True)
    bound = int(test_share * 2**32)
    test = checked(rows, lambda text: place_of(text) < bound)
    if test_share and not len(test):
        bound = bound_of(_texts(checked, rows), test_share)
        test = checked(rows, lambda text: place_of(text) < bound)
    return checked(rows, lambda text: place_of(text) >= bound), test


def _texts(checked: Callable[[Rows, Callable[[str], bool]], RowTasks], rows: Rows) -> list[str]:
    """What rows are parted by."""
    texts: list[str] = []

    def seen(text: str) -> bool:
        texts.append(text)
        return False

    checked(rows, seen)
    return texts


def by_last_message(
    make: Callable[[Row, str], Task], rows: Rows, is_ours: Callable[[str], bool]
) -> RowTasks:
    """The tasks whose last message is one to take; every row is looked at."""
    ours = (
        number
        for number, row in enumerate(rows)
        if is_ours(make(row, rows.place(number)).messages[-1].content)
    )
    return RowTasks(make, rows, ours)


def open_rows(
    path: str,
    subset: str,
    split: str,
    columns: list[str] | None = None,
    if_there: Sequence[str] = (),
    *,
    first: bool = False,
) -> Rows:
    """The rows that `path` names.

    Args:
        path: a file, or the name of a data set on the hub.
        subset: of a data set on the hub, as `split`.
        split: to read.
        columns: of a Parquet file, which are read; all unless given.
        if_there: others, which are read where the file has them.
        first: read no more of a Parquet file than its first row.

    Raises:
        ValueError: there is no such file, no such column, or it is not what its name says.
    """
    file = Path(path).expanduser()
    if file.suffix in (".jsonl", ".csv", ".parquet") and not file.is_file():
        raise ValueError(f"There is no file {file}.")
    if file.suffix == ".jsonl":
        return JsonLines(file)
    if file.suffix == ".csv":
        return CommaSeparated(file)
    if file.suffix == ".parquet":
        return _open_parquet(file, columns, if_there, first=first)
    if file.is_file():
        raise ValueError(f"{file} is neither .jsonl, .csv nor .parquet.")
    return _open_hub(path, subset, split)


def _open_parquet(
    file: Path, columns: list[str] | None, if_there: Sequence[str], *, first: bool
) -> Rows:
    import pyarrow
    import pyarrow.parquet

    try:
        there = pyarrow.parquet.read_schema(file).names
        wanted = None
        if columns is not None:
            wanted = [column if column in there else top(column) for column in columns]
            for column, one in zip(columns, wanted, strict=True):
                if one not in there:
                    raise ValueError(f"{file.name} {lacks(column, there)}")
            wanted = list(dict.fromkeys([*wanted, *(one for one in if_there if one in there)]))
        table = _first_row(file) if first else pyarrow.parquet.read_table(file, columns=wanted)
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{file} is no Parquet file: {error}") from error
    return Table(file.name, table, table.num_rows)


def _first_row(file: Path) -> Any:
    import pyarrow
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(file) as parquet:
        batches = list(islice(parquet.iter_batches(batch_size=1), 1))
        return pyarrow.Table.from_batches(batches, parquet.schema_arrow)


def _open_hub(name: str, subset: str, split: str) -> Rows:
    import datasets

    rows = datasets.load_dataset(name, subset or None, split=split)
    return Table(f"{name}[{split}]", rows, len(rows))
