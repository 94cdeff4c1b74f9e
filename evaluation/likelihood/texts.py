"""The texts of a set, read as they are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from munro.evaluation.likelihood.config import BadSuite, SetConfig

KEYS = {"question": ("question", "prompt"), "answer": ("answer", "response"), "text": ("text",)}
"""Names that a row's parts go by."""


def texts_of(one: SetConfig, root: Path) -> list[str]:
    """The texts of a set, as far as `max_bytes` goes.

    Raises:
        BadSuite: no file, or one that holds no text.
    """
    found: list[str] = []
    size = 0
    for file in _files(one, root):
        if file.suffix == ".jsonl":
            texts = [_part(row, "text", place) for row, place in _rows(file)]
        else:
            texts = [_read(file)]
        for text in texts:
            left = one.max_bytes - size
            if one.max_bytes and left <= 0:
                return found
            kept = text.encode()[:left].decode(errors="ignore") if one.max_bytes else text
            size += len(kept.encode())
            found += [kept] if kept else []
    if not found:
        raise BadSuite(f"set {one.name!r} holds no text: {one.files} are empty.")
    return found


def answers_of(one: SetConfig, root: Path) -> list[tuple[str, str]]:
    """Questions and their answers.

    Raises:
        BadSuite: a file or a row is wrong; says which.
    """
    found = []
    for file in _files(one, root):
        if file.suffix != ".jsonl":
            raise BadSuite(f"set {one.name!r}: answers come from .jsonl files, not {file}.")
        for row, place in _rows(file):
            question, answer = _part(row, "question", place), _part(row, "answer", place)
            found.append((question, answer))
    if not found:
        raise BadSuite(f"set {one.name!r} holds no answers: {one.files} are empty.")
    return found


def _files(one: SetConfig, root: Path) -> list[Path]:
    given = Path(one.files).expanduser()
    base, pattern = (
        (Path(given.anchor), str(given)[1:]) if given.is_absolute() else (root, one.files)
    )
    files = sorted(file for file in base.glob(pattern) if file.is_file())
    if not files:
        raise BadSuite(f"set {one.name!r}: there is no file {base / pattern}.")
    return files


def _read(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8")
    except OSError as error:
        raise BadSuite(f"cannot read {file}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise BadSuite(f"{file} is no UTF-8 text: {error}.") from error


def _rows(file: Path) -> Iterator[tuple[dict[str, Any], str]]:
    for number, line in enumerate(_read(file).split("\n"), 1):
        if not line.strip():
            continue
        place = f"{file}, line {number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise BadSuite(f"{place} is no JSON: {error}.") from error
        if not isinstance(row, dict):
            raise BadSuite(f"{place} is no object.")
        yield row, place


def _part(row: dict[str, Any], part: str, place: str) -> str:
    value = next((row[key] for key in KEYS[part] if key in row), None)
    if not isinstance(value, str) or not value:
        raise BadSuite(f"{place} has no text under {' or '.join(map(repr, KEYS[part]))}.")
    return value
