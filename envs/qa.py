"""Questions with a reference answer, from a file of yours or from the Hugging Face hub.

prompt   A train covers 60 km in 45 min. How fast is it, in km/h?  (...)
reply    60 / 0.75 is 80. <answer>80</answer>
grade    passed: `rewards.math.verify` finds the answer equal to the reference
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar

from envs.base import SingleTurn
from envs.loader import nearest
from envs.types import Task
from rewards.math import verify
from rewards.types import Grade

PROMPT = "{question}\n\nPut the final answer in <answer></answer> tags."
Row = Mapping[str, Any]


class QuestionsAndAnswers(SingleTurn):
    """Question and answer pairs from JSONL, Parquet or the Hugging Face hub, checked as maths."""

    name = "qa"
    file_args: ClassVar[tuple[str, ...]] = ("path", "test_path")

    def __init__(
        self,
        path: str,
        question: str = "question",
        answer: str = "answer",
        id: str = "",
        answer_after: str = "",
        subset: str = "",
        split: str = "train",
        test_path: str = "",
        test_split: str = "",
        test_share: float = 0.1,
        prompt: str = PROMPT,
    ) -> None:
        """Read the rows once, to check each of them and to part training from testing.

        Args:
            path: a .jsonl or .parquet file, or the name of a data set on the hub.
            question: column of the question.
            answer: column of the reference answer.
            id: column of a unique id; the number of the row unless given.
            answer_after: take only what follows this in the answer column ("####" for GSM8K).
            subset: of a data set on the hub ("main").
            split: of a data set on the hub, to train on.
            test_path: a file of held-out rows.
            test_split: of a data set on the hub, held out.
            test_share: where neither is given, this share of the questions is held out.
            prompt: the question, with {question} in it.
        """
        if not 0 <= test_share < 1:
            raise ValueError(f"test_share = {test_share}: give a share in [0, 1).")
        if "{question}" not in prompt:
            raise ValueError(f"prompt = {prompt!r}: it must hold {{question}}.")
        self._columns = (question, answer, id)
        self._answer_after, self._prompt = answer_after, prompt
        rows = _open(path, subset, split, [c for c in self._columns if c])
        if test_path or test_split:
            held_out = _open(
                test_path or path, subset, test_split or split, [c for c in self._columns if c]
            )
            self._train = self._checked(rows, lambda _: True)
            self._test = self._checked(held_out, lambda _: True)
        else:
            bound = int(test_share * 2**32)
            self._train = self._checked(rows, lambda text: _place(text) >= bound)
            self._test = self._checked(rows, lambda text: _place(text) < bound)

    def tasks(self, split: str) -> Sequence[Task]:
        """The rows of one side, each made into a task when it is drawn."""
        return self._train if split == "train" else self._test

    def grade(self, task: Task, reply: str) -> Grade:
        """Equal to the reference, as mathematics."""
        return verify(reply, str(task.payload["answer"]))

    def gold_reply(self, task: Task) -> str:
        """The reference in its tags."""
        return f"<answer>{task.payload['answer']}</answer>"

    def task(self, row: Row, place: str) -> Task:
        """One row as a task. `place` ("file:line") names it where it is unusable."""
        question, answer, row_id = self._columns
        for column in filter(None, self._columns):
            if column not in row:
                raise ValueError(f"{place} has no column {column!r}. {nearest(column, row)}")
            if row[column] is None or not str(row[column]).strip():
                raise ValueError(f"{place}: the {column} is empty.")
        reference = str(row[answer])
        if self._answer_after:
            _, mark, reference = reference.rpartition(self._answer_after)
            if not mark or not reference.strip():
                raise ValueError(f"{place}: nothing follows {self._answer_after!r} in the answer.")
        return Task(
            id=str(row[row_id]) if row_id else place.rpartition(":")[2],
            prompt=self._prompt.replace("{question}", str(row[question]).strip()),
            payload={"answer": reference.strip(), "question": str(row[question])},
        )

    def _checked(self, rows: _Rows, is_ours: Callable[[str], bool]) -> _Tasks:
        numbers = array("Q")
        for number, row in enumerate(rows):
            if is_ours(self.task(row, rows.place(number)).payload["question"]):
                numbers.append(number)
        return _Tasks(self, rows, numbers)


def _place(question: str) -> int:
    """Where a question falls, in [0, 2 ** 32): a property of its text alone."""
    return int.from_bytes(blake2b(question.strip().encode(), digest_size=4).digest())


class _Rows(Sequence[Any]):
    """Rows of one source, read one at a time."""

    def place(self, number: int) -> str:
        """How an error message calls a row."""
        raise NotImplementedError


class _JsonLines(_Rows):
    """A .jsonl file of which only the line starts are in memory."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._starts, self._lines = array("Q"), array("Q")
        start = 0
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    self._starts.append(start)
                    self._lines.append(number)
                start += len(line)

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[Row]:
        with self._file.open("rb") as lines:
            filled = (line for line in lines if line.strip())
            yield from (self._parsed(line, number) for number, line in enumerate(filled))

    def __getitem__(self, number: Any) -> Any:
        with self._file.open("rb") as lines:
            lines.seek(self._starts[number])
            return self._parsed(lines.readline(), number)

    def place(self, number: int) -> str:
        return f"{self._file.name}:{self._lines[number]}"

    def _parsed(self, line: bytes, number: int) -> Row:
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{self.place(number)} is not JSON: {error}.") from error
        if not isinstance(row, dict):
            raise ValueError(f"{self.place(number)} is not a JSON object.")
        return row


class _Table(_Rows):
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


class _Tasks(Sequence[Task]):
    """Some of the rows of a source, as tasks."""

    def __init__(self, environment: QuestionsAndAnswers, rows: _Rows, numbers: array[int]) -> None:
        self._environment, self._rows, self._numbers = environment, rows, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        number = self._numbers[index]
        return self._environment.task(self._rows[number], self._rows.place(number))


def _open(path: str, subset: str, split: str, columns: list[str]) -> _Rows:
    """The rows that `path` names."""
    file = Path(path).expanduser()
    if file.suffix in (".jsonl", ".parquet") and not file.is_file():
        raise ValueError(f"There is no file {file}.")
    if file.suffix == ".jsonl":
        return _JsonLines(file)
    if file.suffix == ".parquet":
        return _open_parquet(file, columns)
    if file.is_file():
        raise ValueError(f"{file} is neither .jsonl nor .parquet.")
    return _open_hub(path, subset, split)


def _open_parquet(file: Path, columns: list[str]) -> _Rows:
    import pyarrow
    import pyarrow.parquet

    try:
        there = pyarrow.parquet.read_schema(file).names
        for column in columns:
            if column not in there:
                raise ValueError(f"{file.name} has no column {column!r}. {nearest(column, there)}")
        table = pyarrow.parquet.read_table(file, columns=columns)
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{file} is no Parquet file: {error}") from error
    return _Table(file.name, table, table.num_rows)


def _open_hub(name: str, subset: str, split: str) -> _Rows:
    import datasets

    rows = datasets.load_dataset(name, subset or None, split=split)
    return _Table(f"{name}[{split}]", rows, len(rows))
