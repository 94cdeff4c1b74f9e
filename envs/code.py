"""Programming problems from a file of yours or from the Hugging Face hub, graded by running tests.

prompt   Read two numbers and print their sum.  (...)
reply    ```python
         print(sum(map(int, input().split())))
         ```
grade    passed: in the sandbox the program passes all tests of the problem

A row of the file:

    {"prompt": "Read two numbers ...", "tests": [{"stdin": "1 2", "stdout": "3"}],
     "language": "cpp", "limits": {"cpu_s": 2, "memory_mb": 256}, "solution": "#include ..."}
    {"prompt": "Write add(a, b).", "tests": [{"function": "add", "args": [1, 2], "expected": 3}]}
    {"prompt": "Complete this.", "starter": "def add(a, b):\\n", "entry_point": "add",
     "tests": [{"source": "assert add(1, 2) == 3"}], "solution": "    return a + b"}

Tests are as `munro.rewards.code.tests_as_data.from_data` takes them. `prompt` and `tests` must be
there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, get_args

from munro.envs.base import SingleTurn
from munro.envs.data.columns import Row, text_of, unbroken
from munro.envs.data.rows import Rows, RowTasks, open_rows, parted
from munro.envs.types import Task
from munro.rewards import code, service
from munro.rewards.code.languages import language_of
from munro.rewards.plugins import nearest
from munro.rewards.types import Grade

PROMPT = "{problem}\n\nAnswer with one fenced block of {language}: the whole program."
GRADED_BY = ("tests", "language", "limits", "starter", "entry_point")
COLUMNS = ("id", "prompt", "tests", "language", "limits", "starter", "entry_point", "solution")


class Code(SingleTurn):
    """Programming problems with tests from JSONL, Parquet or the hub, run in the sandbox."""

    name = "code"
    file_args: ClassVar[tuple[str, ...]] = ("path", "test_path")

    def __init__(
        self,
        path: str,
        subset: str = "",
        split: str = "train",
        test_path: str = "",
        test_split: str = "",
        test_share: float = 0.1,
        language: str = "python",
        reward: code.Reward = "all",
        prompt: str = PROMPT,
    ) -> None:
        """Read the rows once, to check each of them and to part training from testing.

        Args:
            path: a .jsonl or .parquet file, or the name of a data set on the hub.
            subset: of a data set on the hub.
            split: of a data set on the hub, to train on.
            test_path: a file of held-out rows.
            test_split: of a data set on the hub, held out.
            test_share: where neither is given, this share of the problems is held out.
            language: of rows that name none.
            reward: "all" (1 if all tests pass) or "fraction" (the share of tests that pass).
            prompt: what is asked, with {problem} in it; {language} is the row's.
        """
        rows = open_rows(path, subset, split)
        held_out = None
        if test_path or test_split:
            held_out = open_rows(test_path or path, subset, test_split or split)
        self._take(rows, held_out, test_share, language, reward, prompt)

    def tasks(self, split: str) -> Sequence[Task]:
        """The rows of one side, each made into a task when it is drawn."""
        return self._train if split == "train" else self._test

    def grade(self, task: Task, reply: str) -> Grade:
        """Run the reply's program against the tests."""
        item = {"response": reply, **{key: task.payload[key] for key in GRADED_BY}}
        return service.grade("code", item, group=task.id, reward=self._reward)

    def gold_reply(self, task: Task) -> str | None:
        """The solution in its block, where the row has one."""
        row = task.payload
        if not row["solution"]:
            return None
        return f"```{row['language']}\n{row['starter']}{row['solution']}\n```"

    def task(self, row: Row, place: str) -> Task:
        """One row as a task. `place` ("file:line") names it where it is unusable."""
        try:
            return self._task(row, place)
        except ValueError as error:
            said = str(error)
            raise ValueError(said if said.startswith(place) else f"{place}: {said}") from error

    def _take(
        self,
        rows: Rows,
        held_out: Rows | None,
        test_share: float,
        language: str,
        reward: code.Reward,
        prompt: str,
    ) -> None:
        if "{problem}" not in prompt:
            raise ValueError(f"prompt = {prompt!r}: it must hold {{problem}}.")
        if reward not in get_args(code.Reward):
            raise ValueError(f"reward = {reward!r}: write 'all' or 'fraction'.")
        self._language, self._reward, self._prompt = language, reward, prompt
        self._languages: set[str] = set()
        self._train, self._test = parted(self._checked, rows, held_out, test_share)
        for spoken in sorted(self._languages - {"python"}):
            code.require(spoken)

    def _checked(self, rows: Rows, is_ours: Callable[[str], bool]) -> RowTasks:
        return RowTasks(self.task, rows, self._ours(rows, is_ours))

    def _ours(self, rows: Rows, is_ours: Callable[[str], bool]) -> Iterable[int]:
        for number, row in enumerate(rows):
            task = self.task(row, rows.place(number))
            self._languages.add(task.payload["language"])
            if is_ours(f"{row['prompt']}{task.payload['starter']}"):
                yield number

    def _task(self, row: Row, place: str) -> Task:
        if missing := [column for column in ("prompt", "tests") if not row.get(column)]:
            raise ValueError(f"there is no {missing[0]!r}. {nearest(missing[0], row)}")
        given = {column: row.get(column) or "" for column in COLUMNS}
        for column in ("prompt", "language", "starter", "entry_point", "solution"):
            if not isinstance(given[column], str):
                raise ValueError(f"{column} = {given[column]!r:.60}: must be a text")
            unbroken(given[column], column, place)
        if given["starter"] and not given["entry_point"]:
            raise ValueError("a starter needs an entry_point: the function that it opens")
        spoken = language_of(given["language"] or self._language)
        tests = _data(given["tests"], "tests")
        code.refuse_unusable(code.from_data(tests), spoken)
        limits = _data(given["limits"], "limits") or {}
        limits = {name: value for name, value in limits.items() if value is not None}
        code.changed_limits(code.Limits(), limits)
        asked = self._prompt.replace("{language}", spoken.name)
        return Task(
            id=text_of(row, "id", place) if given["id"] != "" else place.rpartition(":")[2],
            prompt=asked.replace("{problem}", _problem(given, spoken.name)),
            payload={
                "tests": tests,
                "limits": limits,
                "language": spoken.name,
                **{key: given[key] for key in ("starter", "entry_point", "solution")},
            },
        )


def _problem(row: Mapping[str, str], language: str) -> str:
    text = row["prompt"].strip()
    if not row["starter"] or row["starter"].strip() in text:
        return text
    return f"{text}\n\n```{language}\n{row['starter'].rstrip()}\n```"


def _data(value: Any, column: str) -> Any:
    """What a column holds, which may be JSON as text (Parquet has no free-form objects)."""
    if not isinstance(value, str) or not value:
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise ValueError(f"{column} is a text that is not JSON: {error}") from error
