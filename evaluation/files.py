"""Files of an evaluation: written whole or not at all; and what differs between two of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from munro.evaluation.types import BadResults


@contextmanager
def written(path: Path) -> Iterator[None]:
    """What the operating system says about writing `path`, as one sentence.

    Raises:
        BadResults: for every `OSError` raised inside.
    """
    try:
        yield
    except OSError as failure:
        raise BadResults(
            f"cannot write {path}: {failure.strerror or failure}. Mend that; the same command "
            "goes on with what was kept."
        ) from failure


def write_atomically(path: Path, text: str) -> None:
    """Replace `path` by `text`, or leave it as it was.

    Raises:
        OSError: disk full, no permission.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def differences(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    """Dotted keys in which two trees differ, "key: before -> after", in the order of the keys."""
    was, now = _flat(before), _flat(after)
    return [
        f"{key}: {was.get(key, 'not set')} -> {now.get(key, 'not set')}"
        for key in dict.fromkeys([*was, *now])
        if was.get(key) != now.get(key)
    ]


def _flat(value: object, key: str = "") -> dict[str, object]:
    if not isinstance(value, Mapping):
        return {key: value}
    flat: dict[str, object] = {}
    for name, item in value.items():
        flat |= _flat(item, f"{key}.{name}" if key else str(name))
    return flat
