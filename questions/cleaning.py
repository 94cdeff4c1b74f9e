"""Questions that were bought or downloaded, without duplicates and without evaluation questions.

The two last stages of a build on a file of rows. Rows that stay are written as they are, the others
with their reason and with what shows it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from munro.questions.clean.contamination import files_of, without_evaluation
from munro.questions.clean.duplicates import without_duplicates
from munro.questions.config import ContaminationConfig, DuplicatesConfig
from munro.questions.errors import QuestionsError
from munro.questions.rows import rows_of, text_in
from munro.questions.types import Dropped, Question


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """What became of a file."""

    read: int
    kept: int
    dropped: tuple[Dropped, ...]


def clean(
    file: Path,
    out: Path,
    against: Sequence[str],
    *,
    question: str = "question",
    answer: str = "answer",
) -> Cleaned:
    """Write the rows that stay to `out`, and the others beside it as NAME.dropped.jsonl.

    Args:
        file: .jsonl or .parquet.
        out: .jsonl to write.
        against: evaluation sets, as `contamination.files` names them.
        question: column of the question, a text or a conversation that ends in it.
        answer: column of the answer; rows may be without.

    Raises:
        QuestionsError: a file cannot be read or written, a row has no question, or an evaluation
            set is the file itself.
    """
    if file.resolve() == out.resolve():
        raise QuestionsError(f"--out names {file} itself: give another file to write.")
    config = ContaminationConfig(files=tuple(against))
    tested = files_of(config, out)
    if itself := next((one for one in tested if one.resolve() == file.resolve()), None):
        raise QuestionsError(
            f"--against names {itself} itself: every question would be left out. Name evaluation "
            "sets only."
        )
    rows = [row for _, row in rows_of(file)]
    questions = list(_questions(file, question, answer))
    unique = without_duplicates(questions, DuplicatesConfig())
    left = without_evaluation(iter(unique.kept), tested, config)
    dropped = (*unique.dropped, *left.dropped)
    template = {one.id: one.template for one in left.kept}
    kept = (
        row | ({"template": template[one.id]} if template[one.id] else {})
        for row, one in zip(rows, questions, strict=True)
        if one.id in template
    )
    _write(out, kept)
    gone = {one.id: one for one in dropped}
    _write(
        out.with_name(f"{out.stem}.dropped.jsonl"),
        (
            {"reason": gone[one.id].reason, "evidence": gone[one.id].evidence, "row": row}
            for row, one in zip(rows, questions, strict=True)
            if one.id in gone
        ),
    )
    return Cleaned(read=len(rows), kept=len(left.kept), dropped=dropped)


def _questions(file: Path, question: str, answer: str) -> Iterator[Question]:
    for place, row in rows_of(file):
        text = text_in(row.get(question)) if isinstance(row, dict) else ""
        if not text.strip():
            held = ", ".join(map(str, list(row)[:8])) if isinstance(row, dict) else "a text"
            raise QuestionsError(
                f"{place} has no question in the column {question!r}: it has {held}. Name the "
                "column by --question."
            )
        given = row.get(answer)
        yield Question(
            id=place,
            document="",
            source="",
            file=str(file),
            page=0,
            label="",
            question=text,
            answer="" if given is None else text_in(given),
            question_pieces=(),
            answer_pieces=(),
            by="",
            type="",
        )


def _write(file: Path, rows: Iterator[dict[str, Any]]) -> None:
    draft = file.with_name(f".{file.name}.draft")
    try:
        # half of a surrogate pair is no text, but may be escaped in JSON
        with draft.open("w", encoding="utf-8", errors="backslashreplace") as lines:
            for row in rows:
                lines.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
        os.replace(draft, file)
    except OSError as error:
        raise QuestionsError(f"{file} cannot be written ({error.strerror}).") from error
