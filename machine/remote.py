"""Addresses of object stores where a file or a folder is meant: said before anything is written.

Taken as a path, `s3://bucket/runs` is a folder named `s3:` in the working directory, and the run
would be where nobody looks for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from munro.machine.errors import BadConfig

STORE = re.compile(
    r"(?:s3[an]?|gs|gcs|az|abfss?|adl|wasbs?|hdfs|webhdfs|viewfs|r2|oss|cosn?|tos|dbfs|file)://",
    re.I,
)
OPEN = re.compile(r"--(?:env|eval\.env)\b")
"""Options whose values are an environment's own business."""
WHY = (
    "Munro reads and writes files that this machine sees. Mount the store and name the folder, "
    "or copy what is done"
)


def refuse_stores(config: BaseModel, *, source: str) -> None:
    """Raise a `BadConfig` where a key of Munro's own holds such an address."""
    for key, value in _texts(config):
        if STORE.match(value):
            raise BadConfig(f"{source}: {key} = {value!r}: {WHY}")


def refuse_stores_among(arguments: Sequence[str]) -> None:
    """Raise a `BadConfig` where an argument of the command line is such an address."""
    before = ""
    for argument in arguments:
        option, _, value = argument.rpartition("=")
        if STORE.match(value) and not OPEN.match(option or before):
            raise BadConfig(f"{option or before} {value}: {WHY}".strip())
        before = argument if argument.startswith("--") else ""


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            inner = getattr(value, name)
            if not isinstance(inner, Mapping):
                yield from _texts(inner, f"{key}.{name}".lstrip("."))
    elif isinstance(value, tuple | list):
        for one in value:
            yield from _texts(one, key)
