"""Which columns hold question and answer, where nobody says: rows as people have them.

    question, answer                          GSM8K: what follows "####" is the answer
    prompt, ground_truth
    problem, solution                         the solution's box is the answer
    messages                                  a conversation that ends in the answer, or an `answer`
    prompt, reward_model.ground_truth         verl: the prompt is a conversation

The first row decides for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from munro.envs.data.columns import MISSING, Row, has, is_conversation, it_has
from munro.envs.data.rows import Rows, open_rows
from munro.rewards.math.extraction import extract

QUESTIONS = ("question", "prompt", "problem", "messages", "conversations", "conversation",
             "instruction", "query", "input")  # fmt: skip
"""Names of the column of the question; the first that is there is taken."""
ANSWERS = ("answer", "ground_truth", "reward_model.ground_truth", "final_answer",
           "expected_answer", "extra_info.answer", "solution", "target", "label",
           "output")  # fmt: skip
INSIDE = ("value", "ground_truth", "answer")
"""What an object that stands for an answer calls it."""
TALKS = ("messages", "conversations", "conversation")
MARK = "####"
"""Before the answer, on a line of its own, in GSM8K and what is made like it."""


@dataclass(frozen=True, slots=True)
class Found:
    """Where question and answer stand.

    Example:
        Found("prompt", "reward_model.ground_truth")
    """

    question: str
    answer: str
    """Empty where the answer is the last message of the question's conversation."""


def found_in(row: Any, question: str, answer: str, place: str) -> Found:
    """The columns of the question and of the answer.

    Args:
        row: the first one.
        question: as a person named it; empty to find it.
        answer: likewise.
        place: names the row.

    Raises:
        ValueError: no column is called as one of them usually is; names those that there are.
    """
    if not isinstance(row, Mapping):
        raise ValueError(f"{place} is not a table with a question and an answer.")
    asked = question or _first(row, QUESTIONS)
    if not asked:
        raise ValueError(_sentence(row, "question", QUESTIONS, place))
    if answer:
        return Found(asked, answer)
    name = _first(row, [one for one in ANSWERS if one != asked])
    if name:
        value = has(row, name)
        inner = next((one for one in INSIDE if isinstance(value, Mapping) and one in value), "")
        return Found(asked, f"{name}.{inner}" if inner else name)
    if is_answered(has(row, asked)):
        return Found(asked, "")
    raise ValueError(_sentence(row, "answer", ANSWERS, place))


def open_found(
    path: str,
    subset: str,
    split: str,
    *,
    columns: tuple[str, str],
    others: Sequence[str],
    if_there: Sequence[str] = (),
) -> tuple[Rows, Found]:
    """Rows of a data set, and where question and answer stand in them.

    Args:
        path: as `open_rows` takes it, with `subset` and `split`.
        columns: of question and answer, as a person named them; empty to find them.
        others: columns that are read beside them.
        if_there: columns that are read too, where there are any.

    Raises:
        ValueError: no such data set, or no such column.
    """
    found = Found(*columns)
    is_table = Path(path).suffix == ".parquet"
    if not all(columns):
        rows = open_rows(path, subset, split, first=is_table)
        if not len(rows):
            return rows, Found(found.question or QUESTIONS[0], found.answer or ANSWERS[0])
        found = found_in(rows[0], *columns, rows.place(0))
        if not is_table:
            return rows, found
    named = [column for column in (found.question, found.answer, *others) if column]
    return open_rows(path, subset, split, named, if_there), found


def is_answered(value: Any) -> bool:
    """Whether it is a conversation that ends in what the assistant says."""
    if not is_conversation(value) or not isinstance(value[-1], Mapping):
        return False
    last = value[-1]
    return last.get("role") == "assistant" or str(last.get("from")).lower() in ("gpt", "assistant")


def last_text(value: Sequence[Mapping[str, Any]]) -> str:
    """What the last message of a conversation says; nothing where it is no text."""
    text = value[-1].get("content", value[-1].get("value"))
    return text if isinstance(text, str) else ""


def said_last(value: Sequence[Mapping[str, Any]], column: str, place: str) -> str:
    """The answer that a conversation ends in.

    Raises:
        ValueError: its last message holds none.
    """
    text = last_text(value)
    found = after_mark(text)
    answer = found if found != text else extract(text)
    if not answer:
        raise ValueError(
            f"{place}: the {column} end in a message without an answer: write it after {MARK}, in "
            "\\boxed{} or in <answer></answer>, or name a column of answers: answer = ..."
        )
    return answer


def after_mark(answer: str) -> str:
    """What follows the last "####" that begins a line; the whole where none does."""
    _, mark, after = f"\n{answer}".rpartition(f"\n{MARK}")
    return after.strip() if mark and after.strip() else answer


def _first(row: Row, names: Sequence[str]) -> str:
    """The first of these columns that holds something, else the first that is there."""
    there = [name for name in names if has(row, name) is not MISSING]
    filled = [name for name in there if has(row, name) not in (None, "")]
    return next(iter(filled + there), "")


def _sentence(row: Row, what: str, names: Sequence[str], place: str) -> str:
    usual = ", ".join(names[:-1])
    return (
        f"{place} has no column {what!r}, nor one that is called {usual} or {names[-1]}. "
        f"{it_has(row)} Name it: {what} = ..."
    )
