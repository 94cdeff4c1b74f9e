"""Text of evaluation sets, which no training document may hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from munro.base_model.data.config import DecontaminationConfig, LimitsConfig, SourceConfig
from munro.base_model.data.documents import Counts
from munro.base_model.data.errors import DataError
from munro.base_model.data.read.listing import SUFFIXES, parts
from munro.base_model.data.read.reading import decode, records

WHOLE = 1 << 62


def evaluation_texts(config: DecontaminationConfig, limits: LimitsConfig) -> list[str]:
    """Every text of the evaluation files: fields of records, or paragraphs of plain text.

    Raises:
        DataError: a file is not there, cannot be read, or has none of the fields.
    """
    texts: list[str] = []
    for file in config.files:
        found = [
            text
            for name in (config.fields if file.endswith(SUFFIXES["parquet"]) else ()) or ("text",)
            for record in _records(
                SourceConfig(name="evaluation", paths=(file,), field=name), limits
            )
            for text in _texts(record, config.fields)
        ]
        if not found:
            fields = f" in the fields {', '.join(config.fields)}" if config.fields else ""
            raise DataError(
                f"evaluation file {file} holds no text{fields}: mend `decontamination`."
            )
        texts += found
    return texts


def _records(source: SourceConfig, limits: LimitsConfig) -> Iterator[Any]:
    for part in parts(source, WHOLE):
        for piece in part.pieces:
            for _, record in records(piece, source, limits, Counts()):
                yield record


def _texts(record: Any, fields: tuple[str, ...]) -> Iterator[str]:
    if isinstance(record, dict):
        for name, value in record.items():
            if (not fields or name in fields) and isinstance(value, str):
                yield value
        return
    text = decode(record)
    if text is not None:
        yield from (block for block in text.split("\n\n") if block.strip())
