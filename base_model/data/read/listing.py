"""Which files a source consists of, cut into parts that do not depend on the number of workers.

paths ──► files, sorted ──► pieces (a file, some lines, some rows) ──► parts of about one size
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from munro.base_model.data.config import SourceConfig
from munro.base_model.data.errors import DataError
from munro.base_model.data.read.pieces import PACKED, Piece, expanded
from munro.base_model.data.read.reading import open_dataset

SUFFIXES = {
    "jsonl": (".jsonl", ".ndjson"),
    "parquet": (".parquet", ".pq"),
    "html": (".html", ".htm", ".xhtml"),
    "text": (".txt", ".md", ".rst", ".text", ".markdown", ".tex", ".wiki"),
    "code": tuple(
        re.findall(
            r"\S+",
            ".py .pyi .c .h .cc .cpp .cxx .hpp .hh .cu .rs .go .java .kt .scala .swift .m .js .jsx "
            ".ts .tsx .mjs .rb .php .pl .pm .r .jl .lua .hs .ml .clj .ex .exs .erl .f90 .f .asm "
            ".s .sh .bash .sql .cmake .proto .v .sv .vhd .dart .zig .nim .cs .fs .vb .lisp .el "
            ".scm .tcl .css .toml .yaml .yml .md .rst",
        )
    ),
}
NAMES = {"text": ("readme", "copying", "license", "licence", "changelog", "news", "copyright")}
"""Files without a suffix that are text."""
EXPECTED = "JSONL, Parquet, HTML, text (.txt, .md, .rst, ...) and code"
ROWS_A_PIECE = 10_000
"""Of a Hugging Face data set."""


@dataclass(frozen=True, slots=True)
class Part:
    """A unit of work: what one worker reads in one go, and one shard in the end."""

    source: str
    number: int
    pieces: tuple[Piece, ...]

    @property
    def name(self) -> str:
        """Of its files."""
        return f"{self.number:05d}"


def parts(source: SourceConfig, part_bytes: int) -> list[Part]:
    """The source, cut up: the same for the same files, in a fixed order.

    Raises:
        DataError: a path is not there, or a file's format is not known.
    """
    found: list[list[Piece]] = [[]]
    filled = 0
    for piece in pieces(source, part_bytes):
        # many tiny files are work too, so each counts as a kilobyte at least
        weight = max(piece.size_bytes, 1024)
        if found[-1] and filled + weight > part_bytes:
            found.append([])
            filled = 0
        found[-1].append(piece)
        filled += weight
    return [Part(source.name, number, tuple(some)) for number, some in enumerate(found) if some]


def pieces(source: SourceConfig, part_bytes: int) -> Iterator[Piece]:
    """Everything the source reads, in order."""
    for path in source.paths:
        if source.format == "huggingface":
            yield from _dataset_pieces(path, source)
            continue
        root = expanded(path)
        if root.is_dir():
            for file in _files(root, source):
                yield from _file_pieces(file, _format(file, source), root, part_bytes)
        elif root.is_file():
            kind = _format(root, source) if source.format == "auto" else source.format
            if not kind:
                raise DataError(
                    f"source {source.name}: {root} has an unknown format; {EXPECTED} are read. Say "
                    'format = "text" (or another) if it is one of them.'
                )
            yield from _file_pieces(root, kind, root.parent, part_bytes)
        elif not source.optional:
            raise DataError(
                f"source {source.name}: there is no file or folder {root}. Mend `paths`, or say "
                "optional = true to pass it over."
            )


def state_of(some: Sequence[Part]) -> str:
    """A digest of what would be read: paths, spans, sizes and times of change."""
    state: list[Any] = []
    seen: dict[str, Any] = {}
    for part in some:
        for piece in part.pieces:
            if piece.path not in seen:
                file = Path(piece.path)
                seen[piece.path] = file.stat().st_mtime_ns if file.exists() else 0
            state.append((part.number, *astuple(piece), seen[piece.path]))
    return hashlib.sha256(json.dumps(state).encode()).hexdigest()


def _files(root: Path, source: SourceConfig) -> Iterator[Path]:
    """Regular files below a folder, depth first in the order of names; links are not followed."""
    try:
        with os.scandir(root) as entries:
            ordered = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(
            f"source {source.name}: cannot list {root} ({error.strerror}): add it to `exclude`, or "
            "mend its permissions."
        ) from error
    for entry in ordered:
        path = Path(entry.path)
        if entry.is_symlink() or any(
            fnmatch(entry.name, pattern) or path.match(pattern) for pattern in source.exclude
        ):
            continue
        if entry.is_dir():
            yield from _files(path, source)
        elif entry.is_file() and _wanted(path, source):
            yield path


def _wanted(file: Path, source: SourceConfig) -> bool:
    if source.include:
        return any(fnmatch(file.name, pattern) for pattern in source.include)
    return bool(_format(file, source))


def _format(file: Path, source: SourceConfig) -> str:
    """How a file is read, or "" where its suffix does not say and the recipe does not either."""
    name = file.name.lower()
    suffix = next((Path(name[: -len(end)]).suffix for end in PACKED if name.endswith(end)), None)
    suffix = Path(name).suffix if suffix is None else suffix
    if source.format in ("text", "code", "html", "jsonl", "parquet"):
        fits = suffix in SUFFIXES[source.format] or bool(source.include)
        bare = source.format == "text" and name.removesuffix(".gz") in NAMES["text"]
        return source.format if fits or bare else ""
    if source.format == "changes":
        return "changes" if suffix in SUFFIXES["jsonl"] or source.include else ""
    for kind, suffixes in SUFFIXES.items():
        if suffix in suffixes:
            return kind
    return "text" if name.removesuffix(".gz") in NAMES["text"] or source.include else ""


def _file_pieces(file: Path, kind: str, root: Path, part_bytes: int) -> Iterator[Piece]:
    size = file.stat().st_size
    if kind in ("jsonl", "changes") and not file.name.endswith(PACKED):
        for start in range(0, size, part_bytes):
            stop = min(start + part_bytes, size)
            yield Piece(str(file), kind, start, stop, str(root), stop - start)
    elif kind == "parquet":
        yield from _row_groups(file, root, part_bytes)
    else:
        yield Piece(str(file), kind, 0, size, str(root), size)


def _row_groups(file: Path, root: Path, part_bytes: int) -> Iterator[Piece]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(file)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file} is not a whole Parquet file ({error}): write it again.") from error
    start = filled = 0
    for group in range(metadata.num_row_groups):
        filled += metadata.row_group(group).total_byte_size
        if filled >= part_bytes or group == metadata.num_row_groups - 1:
            yield Piece(str(file), "parquet", start, group + 1, str(root), filled)
            start, filled = group + 1, 0


def _dataset_pieces(path: str, source: SourceConfig) -> Iterator[Piece]:
    num_rows = len(open_dataset(path, source))
    for start in range(0, num_rows, ROWS_A_PIECE):
        stop = min(start + ROWS_A_PIECE, num_rows)
        yield Piece(path, "huggingface", start, stop, path, (stop - start) * 1024)
