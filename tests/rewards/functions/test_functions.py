"""Reward functions of TRL and verl, called by path, and what they return that is no reward."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from munro.rewards.errors import GraderError
from munro.rewards.graders.trl import TrlGrader
from munro.rewards.graders.verl import VerlGrader
from munro.rewards.kinds import check_item, make
from munro.rewards.types import Grade

SOURCE = """
import asyncio, json, os, time
import numpy

def accuracy(prompts, completions, answer, **kwargs):
    return [float(c[-1]["content"].strip() == a) for c, a in zip(completions, answer)]

def texts(completions, **kwargs):
    return [len(c) / 10 for c in completions]

def columns(prompts, completions, **kwargs):
    assert prompts == [[{"role": "user", "content": "2 + 2?"}]], prompts
    assert sorted(kwargs) == ["answer", "difficulty"], sorted(kwargs)
    return [kwargs["difficulty"][0]]

async def waits(completions, answer):
    await asyncio.sleep(0.01)
    return [1.0 if answer[0] in completions[0] else None]

def too_few(completions, **kwargs): return []
def too_many(completions, **kwargs): return [1.0, 2.0]
def no_list(completions, **kwargs): return 1.0
def strings(completions, **kwargs): return ["1.0"]
def nan(completions, **kwargs): return [float("nan")]
def huge(completions, **kwargs): return [10 ** 400]
def raises(completions, **kwargs): raise KeyError("gone")
def hangs(completions, **kwargs): time.sleep(1000)
def quits(completions, **kwargs): os._exit(3)
def odd(completions, **kwargs): return [object()]
def of_numpy(completions, **kwargs): return numpy.array([0.5])
def prints(completions, **kwargs):
    print("x" * 100000, flush=True)
    return [1]
def secret(completions, **kwargs): return [float(os.environ.get("MUNRO_SECRET", "0"))]
def no_reward(a, b): return 1

def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    assert (data_source, extra_info) == ("sums", {"index": 3}), (data_source, extra_info)
    acc = solution_str == ground_truth
    return {"score": float(acc), "acc": acc, "pred": solution_str}

async def plain_score(data_source, solution_str, ground_truth, bonus=0.0):
    return float(solution_str == ground_truth) + bonus

def no_score(data_source, solution_str, ground_truth, extra_info): return {"acc": 1}
def score_nan(data_source, solution_str, ground_truth, **kw): return {"score": float("nan")}
"""
ITEM = {
    "response": "4",
    "prompt": "2 + 2?",
    "messages": [{"role": "user", "content": "2 + 2?"}],
    "task_id": "1",
    "num_tokens": 1,
    "answer": "4",
}
VERL = {
    **ITEM,
    "data_source": "sums",
    "extra_info": {"index": 3},
    "reward_model": {"ground_truth": "4"},
}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("functions") / "theirs.py"
    path.write_text(SOURCE)
    return path


@pytest.fixture(scope="module")
def graders(file: Path) -> Iterator[Any]:
    """Graders by function; their processes are shared by the tests."""
    made: dict[str, Any] = {}

    def grade(kind: str, name: str, item: dict[str, Any], **options: Any) -> Grade:
        key = f"{kind}/{name}/{options}"
        if key not in made:
            made[key] = make(kind, function=f"{file}:{name}", workers=1, **options)
        check_item(kind, item)
        return made[key].grade(item)

    yield grade
    for grader in made.values():
        grader.close()


def test_trl_gets_conversations_and_the_columns_of_the_row(graders: Any) -> None:
    assert graders("trl", "accuracy", ITEM).reward == 1.0
    assert graders("trl", "accuracy", {**ITEM, "response": "5"}).reward == 0.0
    assert graders("trl", "columns", {**ITEM, "difficulty": 0.25}).reward == 0.25


def test_trl_text_async_numpy_and_printing_functions(graders: Any) -> None:
    assert graders("trl", "texts", ITEM, format="text").reward == pytest.approx(0.1)
    assert graders("trl", "waits", ITEM, format="text").reward == 1.0
    assert graders("trl", "of_numpy", ITEM).reward == 0.5
    assert graders("trl", "prints", ITEM).reward == 1.0


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("too_few", "0 rewards for 1 attempt"),
        ("too_many", "2 rewards for 1 attempt"),
        ("no_list", "a list is wanted"),
        ("strings", "'1.0', which is no finite number"),
        ("nan", "nan, which is no finite number"),
        ("huge", "which is no finite number"),
        ("odd", "object"),
        ("raises", "theirs.py:raises raised: KeyError: 'gone'"),
        ("quits", "theirs.py:quits killed its process twice"),
    ],
)
def test_what_is_no_reward_leaves_the_attempt_unscored(graders: Any, name: str, why: str) -> None:
    with pytest.raises(GraderError, match=why):
        graders("trl", name, ITEM)


def test_none_is_unscored(graders: Any) -> None:
    with pytest.raises(GraderError, match="None: the attempt is unscored"):
        graders("trl", "waits", {**ITEM, "response": "5"}, format="text")


def test_one_that_hangs_is_killed(graders: Any) -> None:
    with pytest.raises(GraderError, match=r"theirs\.py:hangs ran out of time"):
        graders("trl", "hangs", ITEM, timeout_s=0.5)


def test_it_reads_the_variables_that_it_was_given_and_no_others(
    graders: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUNRO_SECRET", "1")
    assert graders("trl", "secret", ITEM).reward == 0.0
    assert graders("trl", "secret", ITEM, env=["MUNRO_SECRET"]).reward == 1.0
    with pytest.raises(ValueError, match="no environment variable 'MUNRO_NOT_THERE'"):
        graders("trl", "secret", ITEM, env=["MUNRO_NOT_THERE"])


def test_verl_gets_its_columns_and_a_dict_has_parts(graders: Any) -> None:
    grade = graders("verl", "compute_score", VERL)
    assert (grade.reward, grade.parts) == (1.0, {"acc": 1.0})
    assert graders("verl", "plain_score", {**VERL, "response": "5"}).reward == 0.0
    ours = {**ITEM, "ground_truth": "4"}
    assert graders("verl", "plain_score", ours, kwargs={"bonus": 0.5}).reward == 1.5


@pytest.mark.parametrize(
    ("name", "why"), [("no_score", "without a 'score'"), ("score_nan", "the score nan")]
)
def test_verl_dicts_that_hold_no_score(graders: Any, name: str, why: str) -> None:
    with pytest.raises(GraderError, match=why):
        graders("verl", name, VERL)


def test_an_item_without_a_reference_is_refused_with_the_ways_out(file: Path) -> None:
    with (
        VerlGrader(function=f"{file}:plain_score") as grader,
        pytest.raises(ValueError, match="'ground_truth' is missing: give the task a column"),
    ):
        grader.check(ITEM)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("{file}:accurcy", "there is no 'accurcy'. Did you mean 'accuracy'?"),
        ("{file}", "does not say which: write"),
        ("{file}:no_reward", "takes no 'completions'"),
        ("./nowhere.py:reward", "There is no file"),
        ("nowhere.at.all:reward", "There is no module 'nowhere.at.all'"),
        ("{broken}:reward", "cannot be imported: ZeroDivisionError: division by zero"),
    ],
)
def test_a_function_that_cannot_be_had_is_one_sentence(
    file: Path, tmp_path: Path, path: str, why: str
) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("1 / 0\n")
    with pytest.raises(ValueError, match=re.escape(why)) as refusal:
        TrlGrader(function=path.format(file=file, broken=broken))
    assert "\n" not in str(refusal.value)
