"""Every built-in environment passes the same examination."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from munro.envs import Grade, Message, available, load
from munro.envs.arithmetic import Arithmetic, is_held_out, last_number, solve
from munro.envs.bfcl.package import CONVERSATIONS, MATCHED
from munro.envs.check import check_config
from munro.envs.config import EnvConfig
from munro.envs.problem_set import ProblemSet, TaskPool
from munro.envs.reasoning_gym import is_formula, is_list, is_sum
from munro.envs.swe.folder import read_folder, write_folder
from tests.envs.bfcl.stand_in import made
from tests.envs.harbor.folders import SIMPLE, written
from tests.envs.mcp.playing import prices
from tests.envs.swe.boxes import bench
from tests.envs.swe.tasks import ROADS, STONES, task_of

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::SyntaxWarning")

GRADED = {
    name: {"graders": {"right": {"kind": "math"}}, "reward": "right"}
    for name in ("prompts", "recorded", "safety")
}
"""Environments that grade nothing by themselves."""
NAMES = [name for name, _ in available() if name != "agent"]
"""Of the agent's the policy is a program that asks an address: tests/rollout/address."""
CALLED = (*CONVERSATIONS, *MATCHED)
PROGRAMS = [
    {
        "prompt": f"Print {n} times what is read.",
        "tests": [{"stdin": "3", "stdout": str(3 * n)}, {"stdin": "5", "stdout": str(5 * n)}],
        "solution": f"print({n} * int(input()))",
    }
    for n in range(2, 40)
]
ROWS = [{"question": f"What is half of {2 * n}?", "answer": str(n)} for n in range(100, 160)]


def recording(row: dict[str, str]) -> dict[str, object]:
    """The same question, put to a calculator."""
    call = {"name": "half", "arguments": {"of": 2 * int(row["answer"])}}
    said = [
        {"role": "user", "content": row["question"]},
        {"role": "tool_call", "content": json.dumps(call)},
        {"role": "tool_response", "content": row["answer"]},
        {"role": "assistant", "content": f"It is {row['answer']}"},
    ]
    return {"messages": said, "tools": [{"name": "half"}], "answer": row["answer"]}


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Two tasks from repositories, one on either side."""
    top = tmp_path_factory.mktemp("repositories")
    with bench(top / "store") as swe:
        tasks = [task_of(small, swe) for small in (STONES, ROADS)]
    for task in tasks:
        write_folder(task, top / "tasks" / task.id)
    digests = [read_folder(folder).digest() for folder in sorted((top / "tasks").iterdir())]
    share = sum(int(digest[:8], 16) / 2**32 for digest in digests) / 2
    return {"path": str(top / "tasks"), "store": str(top / "store"), "test_share": share}


@pytest.fixture
def arguments(tmp_path: Path, repositories: dict[str, object]) -> dict[str, dict[str, object]]:
    file = tmp_path / "halves.jsonl"
    file.write_text("\n".join(map(json.dumps, ROWS)))
    programs = tmp_path / "programs.jsonl"
    programs.write_text("\n".join(map(json.dumps, PROGRAMS)))
    asked = [
        {"prompt": row["question"], "answer": row["answer"], "gold": f"It is {row['answer']}"}
        for row in ROWS
    ]
    recorded = tmp_path / "recorded.jsonl"
    recorded.write_text("\n".join(json.dumps(recording(row)) for row in ROWS))
    safety = tmp_path / "safety.jsonl"
    safety.write_text("\n".join(json.dumps(row | {"harmful": False}) for row in asked))
    for number in range(6):  # by their digests, some lie on either side
        asked_for = f"Write 42 into /app/answer.txt, or {number} times 42 into no file at all.\n"
        written(tmp_path / f"foreign/{number}", SIMPLE | {"instruction.md": asked_for})
    foreign = {"path": str(tmp_path / "foreign"), "store": str(tmp_path / "store")}
    return {
        # without those that want no call: any words pass them, of which the check warns
        "bfcl": {"data": str(made(tmp_path / "bfcl")), "categories": CALLED, "test_share": 0.5},
        "code": {"path": str(programs)},
        "harbor": foreign | {"test_share": 0.5},
        "prompts": {"prompts": asked},
        "safety": {"path": str(safety)},
        "mcp": prices(tmp_path),
        "qa": {"path": str(file)},
        "recorded": {"path": str(recorded)},
        "remote": {"python": sys.executable, "side": "echo"},
        "swe": repositories,
        "reasoning_gym": {"dataset": "chain_sum", "size": 50, "test_size": 10},
    }


def config_of(name: str, arguments: dict[str, dict[str, object]]) -> EnvConfig:
    return EnvConfig.model_validate(
        {"path": name, "args": arguments.get(name, {})} | GRADED.get(name, {})
    )


@pytest.mark.parametrize("name", NAMES)
def test_gold_passes_and_silence_fails_and_nothing_leaks(name, arguments):
    report = check_config(config_of(name, arguments))
    assert (report.problems, report.warnings) == ((), ())
    assert report.grade.passed
    assert report.num_test > 0


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_is_a_stream_and_test_tasks_are_not_trained_on(name, arguments):
    config = config_of(name, arguments)
    first, again = (ProblemSet([config], seed=7) for _ in range(2))
    asked = [first.task(i) for i in range(first.total)] if first.total < 100 else []
    asked = asked or [first.task(i) for i in range(200)]
    assert asked == [again.task(i) for i in range(len(asked))]
    held_out = {task.messages for task in first.held_out(50)}
    assert held_out
    assert held_out.isdisjoint(task.messages for task in asked)
    assert {task.env for task in asked} == set(first.names)


def test_importing_the_room_is_light():
    code = "import sys, munro.envs, munro.envs.arithmetic, munro.envs.check; "
    code += "heavy = {'torch', 'datasets', 'ray',"
    code += "'reasoning_gym', 'pyarrow', 'sympy', 'vllm'}; print(*heavy & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("level", [1, 2, 3, 4, 5])
def test_arithmetic_splits_by_the_problem_itself_and_never_repeats(level):
    environment = Arithmetic(level=level)
    for split, held_out in (("train", False), ("test", True)):
        ids = [task.id for task in environment.tasks(split)[:500]]
        assert len(set(ids)) == len(ids) > 0
        assert {is_held_out(each) for each in ids} == {held_out}


def test_a_sum_turned_round_is_the_same_problem_for_holding_out():
    sums = [(a, b) for a in range(10, 40) for b in range(10, 40)]
    assert all(is_held_out(f"{a}+{b}") == is_held_out(f"{b} + {a}") for a, b in sums)
    assert any(is_held_out(f"{a}-{b}") != is_held_out(f"{b}-{a}") for a, b in sums)
    assert 0.05 < sum(is_held_out(f"{a}+{b}") for a, b in sums) / len(sums) < 0.15


def test_the_whole_small_space_is_shared_out():
    environment = Arithmetic(level=3)
    ids = Counter(task.id for split in ("train", "test") for task in environment.tasks(split))
    assert len(ids) == environment.space.size == 90 * 90 * 2
    assert set(ids.values()) == {1}


@pytest.mark.parametrize(
    ("problem", "value"), [("27+58", 85), ("2+3*4-5", 9), ("1-2-3", -4), ("2*3*4-5*6", -6)]
)
def test_products_come_first(problem, value):
    assert solve(problem) == value


@pytest.mark.parametrize(
    ("reply", "number"),
    [
        ("so 7+8=15 and it is 85.", "85"),
        ("1,085", "1085"),
        ("= 0085", "85"),
        ("85.0", "85"),
        ("8.5", None),
        ("3-85", "85"),
        ("it is -85", "-85"),
        ("\u22120", "0"),
        ("no idea", None),
        ("", None),
        ("8" * 1_000_000, "8" * 1_000_000),
    ],
)
def test_the_last_number_counts(reply, number):
    assert last_number(reply) == number


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ({"level": 9}, "the levels are 1, 2, 3, 4, 5"),
        ({"operators": "/"}, 'one or more of "\\+-\\*"'),
        ({"prompt": "Go"}, "must hold {problem}"),
        ({"digits": 2, "min_digits": 3}, "1 <= min <= max"),
        ({"digit": 2}, "Did you mean 'digits'"),
    ],
)
def test_arithmetic_refuses_nonsense_in_a_sentence(args, sentence):
    with pytest.raises(ValueError, match=sentence):
        load("arithmetic", **args)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("{oops", r"rows.jsonl:2 is not JSON"),
        ("[1]", r"rows.jsonl:2 is not a JSON object"),
        ('{"question": "What?", "answer": ""}', r"rows.jsonl:2: the answer is empty"),
        ('{"question": "What?", "answr": "1"}', r"rows.jsonl:2 has no column 'answer'.*'answr'"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path, row, sentence):
    file = tmp_path / "rows.jsonl"
    file.write_text('{"question": "One?", "answer": "1"}\n' + row + "\n")
    with pytest.raises(ValueError, match=sentence):
        load("qa", path=str(file))


def test_parquet_rows_are_the_same_tasks_as_json_lines(tmp_path, arguments):
    import pyarrow
    import pyarrow.parquet

    file = tmp_path / "halves.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), file)
    lines = load("qa", **arguments["qa"])
    table = load("qa", path=str(file))
    assert list(table.tasks("train")) == list(lines.tasks("train"))
    assert list(table.tasks("test")) == list(lines.tasks("test"))


def test_the_reference_may_follow_a_mark(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"question": "Q?", "answer": "2 and 2\n#### 4"}))
    environment = load("qa", path=str(file), answer_after="####", test_share=0)
    (task,) = environment.tasks("train")
    assert task.payload["answer"] == "4"


def test_an_unknown_data_set_of_reasoning_gym_gets_the_nearest_name():
    with pytest.raises(ValueError, match=r"no data set 'chain_sums'.*'chain_sum'"):
        load("reasoning_gym", dataset="chain_sums")
    with pytest.raises(ValueError, match=r"takes no 'min_term'.*'min_terms'"):
        load("reasoning_gym", dataset="chain_sum", min_term=2)
    with pytest.raises(ValueError, match="its scorer passes any text"):
        load("reasoning_gym", dataset="game_of_life_halting")


def test_a_data_set_that_differs_from_process_to_process_asks_for_a_hash_seed(monkeypatch):
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    with pytest.raises(ValueError, match="set PYTHONHASHSEED=0"):
        load("reasoning_gym", dataset="ransom_note")
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    assert load("reasoning_gym", dataset="ransom_note").name == "reasoning_gym/ransom_note"


@pytest.mark.parametrize(
    ("is_fit", "good", "bad"),
    [
        (is_list, '[["0", "1"], [1, 0]]', '__import__("os").system("true")'),
        (is_sum, "(3 + 5) * 3", "9**9**9"),
        (is_sum, "24", "exit()"),
        (is_formula, "x**3/3 + sin(2*x) + C", "x.evalf"),
        (is_formula, "2*x + 1.5", "factorint(99)"),
        (is_formula, "x**12", "9**9**9"),
        (is_formula, "2*(3*x - 1)**(3/2) + C", "2*Integral(x**2, x) + C"),
        (is_formula, "x**-1 + x**(-1/2)", "9**(999/2)"),
        (is_formula, "x", "9**(9**9)"),
        (is_formula, "exp(x)", "9**999"),
    ],
)
def test_text_that_a_scorer_would_evaluate_is_screened(is_fit, good, bad):
    assert is_fit(good)
    assert not is_fit(bad)


def test_a_scorer_that_chokes_on_an_answer_makes_it_wrong_not_broken():
    environment = load("reasoning_gym", dataset="prime_factorization", size=3, test_size=1)
    task = TaskPool(environment, "train").draw(0, 0)
    grade = environment.grade(task, "<answer>I do not know.</answer>")
    assert grade.passed is False
    assert environment.grade(task, environment.gold_reply(task)).passed


def test_texts_of_environments_and_graders_can_be_encoded_and_stored():
    """Half a surrogate pair, as names of files give it, ended a worker or the writing of a step."""
    assert Message(role="tool", content="fig\udcff, né").content == "fig\\udcff, né"
    assert Grade.of(0.0, reason="not kept: fig\udcff").reason == "not kept: fig\\udcff"
