"""Reward functions of TRL and verl, called by path, and what they return that is no reward."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from munro.envs.check import played
from munro.envs.loader import EnvConfig, load_config, resolve_config
from munro.rewards.errors import GraderError
from munro.rewards.graders.trl import TrlGrader
from munro.rewards.graders.verl import VerlGrader
from munro.rewards.kinds import check_item

SOURCE = '''
import asyncio, json, os, time
import numpy

def trl(prompts, completions, **kwargs):
    """What its completion says: a Python expression, in this test alone."""
    return eval(completions[0][-1]["content"])

async def waits(completions, answer):
    await asyncio.sleep(0.01)
    return [1.0 if answer[0] in completion else None for completion in completions]

def logs(completions, log_metric, log_extra=None, trainer_state=0, **kwargs):
    log_metric("seen", 1.0)
    log_extra("text", completions)
    return [float(trainer_state is None and "log_metric" not in kwargs)]

def no_reward(a, b): return 1

def verl(data_source, solution_str, ground_truth, extra_info=None):
    return eval(solution_str)

async def bonus(data_source, solution_str, ground_truth, more=0.0):
    return float(solution_str == ground_truth) + more
'''
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
    "reward_model": {"ground_truth": "4"},
    "extra_info": {"n": 3},
}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("functions") / "theirs.py"
    path.write_text(SOURCE)
    return path


@pytest.fixture(scope="module")
def trl(file: Path) -> Iterator[TrlGrader]:
    with TrlGrader(function=f"{file}:trl", workers=1, timeout_s=0.5) as grader:
        yield grader


@pytest.fixture(scope="module")
def verl(file: Path) -> Iterator[VerlGrader]:
    with VerlGrader(function=f"{file}:verl", workers=1) as grader:
        yield grader


def test_trl_gets_conversations_and_the_columns_of_the_row_as_lists(trl: TrlGrader) -> None:
    def of(says: str) -> float:
        return trl.grade({**ITEM, "difficulty": 0.25, "response": says}).reward

    assert of("kwargs['difficulty']") == 0.25
    assert of("[sorted(kwargs) == ['answer', 'difficulty']]") == 1.0
    assert of("[prompts == [[{'role': 'user', 'content': '2 + 2?'}]]]") == 1.0
    assert of("[completions[0][0]['role'] == 'assistant' and len(completions) == 1]") == 1.0
    assert of("numpy.array([0.5])") == 0.5
    assert of("(print('x' * 10**6), os.write(1, b'x' * 10**6), [1])[-1]") == 1.0


@pytest.mark.parametrize(
    ("says", "why"),
    [
        ("[]", "0 rewards for 1 attempt"),
        ("[1.0, 2.0]", "2 rewards for 1 attempt"),
        ("1.0", "a list is wanted"),
        ("None", "None: the attempt is unscored"),
        ("[None]", "None: the attempt is unscored"),
        ("['1.0']", "theirs.py:trl returned '1.0', which is no finite number"),
        ("[float('nan')]", "returned nan, which is no finite number"),
        ("[10 ** 400]", "which is no finite number"),
        ("[object()]", "returned <object object"),
        ("[[1.0]]", "which is no finite number"),
        ("{}['gone']", "theirs.py:trl raised: KeyError: 'gone'"),
        ("os._exit(3)", "theirs.py:trl killed its process twice"),
        ("time.sleep(1000)", "theirs.py:trl ran out of time"),
    ],
)
def test_what_is_no_reward_leaves_the_attempt_unscored(trl: TrlGrader, says: str, why: str) -> None:
    with pytest.raises(GraderError, match=re.escape(why)):
        trl.grade({**ITEM, "response": says})


def test_async_functions_on_texts_that_take_no_more_than_they_name(file: Path) -> None:
    with TrlGrader(function=f"{file}:waits", format="text", workers=1) as grader:
        assert grader.grade({**ITEM, "difficulty": 1}).reward == 1.0
        with pytest.raises(GraderError, match="None: the attempt is unscored"):
            grader.grade({**ITEM, "response": "5"})


def test_what_a_trl_function_logs_goes_nowhere(file: Path) -> None:
    with TrlGrader(function=f"{file}:logs", workers=1) as grader:
        assert grader.grade(ITEM).reward == 1.0


def test_verl_gets_its_columns_and_the_numbers_of_a_dict_are_parts(
    file: Path, verl: VerlGrader
) -> None:
    check_item("verl", VERL)
    fits = "[data_source, ground_truth, extra_info] == ['sums', '4', {'n': 3}]"
    says = f"{{'score': {fits}, 'acc': 0, 'pred': '4'}}"
    grade = verl.grade({**VERL, "response": says})
    assert (grade.reward, grade.parts) == (1.0, {"acc": 0.0})
    with VerlGrader(function=f"{file}:bonus", kwargs={"more": 0.5}, workers=1) as grader:
        assert grader.grade({**ITEM, "ground_truth": "4"}).reward == 1.5


@pytest.mark.parametrize(
    ("says", "why"),
    [
        ("{'acc': 1}", "without a 'score'"),
        ("{'score': float('nan')}", "the score nan"),
        ("{'score': 1.0, 'acc': float('inf')}", "acc inf"),
        ("None", "unscored"),
        ("'1'", "no finite number"),
    ],
)
def test_what_verl_functions_return_that_is_no_score(verl: VerlGrader, says: str, why: str) -> None:
    with pytest.raises(GraderError, match=why):
        verl.grade({**VERL, "response": says})


def test_an_item_without_a_reference_is_refused_with_the_ways_out(verl: VerlGrader) -> None:
    with pytest.raises(ValueError, match="'ground_truth' is missing: give the task a column"):
        verl.check(ITEM)


def test_it_reads_the_variables_that_it_was_given_and_no_others(
    file: Path, trl: TrlGrader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUNRO_SECRET", "1")
    asks = {**ITEM, "response": "[float(os.environ.get('MUNRO_SECRET', '0'))]"}
    assert trl.grade(asks).reward == 0.0
    with TrlGrader(function=f"{file}:trl", env=["MUNRO_SECRET"], workers=1) as grader:
        assert grader.grade(asks).reward == 1.0
    with pytest.raises(ValueError, match="no environment variable 'MUNRO_NOT_THERE'"):
        TrlGrader(function=f"{file}:trl", env=["MUNRO_NOT_THERE"])


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("{file}:tlr", "there is no 'tlr'. Did you mean 'trl'?"),
        ("{file}:no_reward", "takes no 'completions'"),
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


def test_rows_in_verls_columns_reach_a_function_beside_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a recipe names them, from another working directory."""
    row = {
        "data_source": "sums",
        "prompt": [{"role": "user", "content": "2 + 2?"}],
        "reward_model": {"style": "rule", "ground_truth": "4"},
        "extra_info": {"index": 0},
    }
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "score.py").write_text(
        "def compute_score(data_source, solution_str, ground_truth, extra_info):\n"
        "    assert (data_source, extra_info) == ('sums', {'index': 0})\n"
        "    return float(solution_str.strip() == ground_truth)\n"
    )
    recipe = {
        "path": "prompts",
        "args": {"path": "rows.jsonl", "test_share": 0},
        "graders": {"right": {"kind": "verl", "args": {"function": "score.py:compute_score"}}},
        "reward": "right",
    }
    monkeypatch.chdir(tmp_path)
    found = resolve_config(EnvConfig.model_validate(recipe))
    assert found.graders["right"].args["function"] == f"{tmp_path}/score.py:compute_score"
    monkeypatch.chdir("/")
    env = load_config(found)
    task = next(iter(env.tasks("train")))

    def paid(said: str) -> Any:
        return asyncio.run(played(env, task, [said])).grade.reward

    assert (paid("4"), paid("5")) == (1.0, 0.0)
