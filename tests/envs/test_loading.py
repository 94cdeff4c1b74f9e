"""From a name to an environment, and every way that can fail, in one sentence each."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from munro.envs import BadEnvironment, load
from munro.envs.check import check
from munro.envs.config import EnvConfig
from munro.envs.loader import resolve_config
from munro.rewards.plugins import resolve

TWELVE_LINES = '''
from munro.envs import Grade, SingleTurn, Task

class Reverse(SingleTurn):
    """Spell a word backwards."""

    def tasks(self, split):
        return [Task(id=w, prompt=f"Spell {w!r} backwards.", payload={"word": w})
                for w in ("munro", "cairn", "belay")]

    def grade(self, task, reply):
        return Grade.of(reply.strip() == task.payload["word"][::-1])

    def gold_reply(self, task):
        return task.payload["word"][::-1]
'''

GOOD = {
    "tasks": "return [Task(id='a', prompt='Say yes.'), Task(id='b', prompt='Say yes!')]",
    "grade": "return reply == 'yes'",
    "gold": "return 'yes'",
}
EVERY = "import itertools, random, time\nfrom munro.envs import *\n"


def written(folder: Path, **bodies: str) -> str:
    """A user's file with these method bodies; returns its path."""
    body = GOOD | bodies
    file = folder / "mine.py"
    file.write_text(
        f"{EVERY}class Mine(SingleTurn):\n"
        f"    def tasks(self, split):\n        {body['tasks']}\n"
        f"    def grade(self, task, reply):\n        {body['grade']}\n"
        f"    def gold_reply(self, task):\n        {body['gold']}\n"
    )
    return str(file)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", [*sys.path])
    file = tmp_path / "mine.py"
    file.write_text(TWELVE_LINES)
    return file


def test_the_twelve_lines_of_the_guide_work(mine):
    report = check(f"{mine}:Reverse")
    assert report.problems == ()
    assert (report.name, report.num_train, report.gold) == ("reverse", 3, ("ornum",))
    assert report.warnings == ("3 of 3 test tasks are train tasks as well",)


def test_relative_home_and_bare_paths_are_the_same_environment(mine, monkeypatch):
    monkeypatch.chdir(mine.parent)
    monkeypatch.setenv("HOME", str(mine.parent))
    for path in ("mine.py", "./mine.py:Reverse", "~/mine.py:Reverse", f"{mine}:Reverse"):
        assert load(path).name == "reverse"
    assert resolve("mine.py:Reverse") == f"{mine}:Reverse"
    assert resolve("arithmetic") == "arithmetic"


def test_another_process_in_another_folder_loads_the_resolved_name(mine, monkeypatch, tmp_path):
    monkeypatch.chdir(mine.parent)
    path = resolve("mine.py:Reverse")
    code = f"from munro.envs import load; print(load({path!r}).tasks('train')[0].id)"
    root = str(Path(__file__).parents[2] / "src")
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd="/",
        env={"PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "munro"


def test_arguments_that_name_files_become_absolute(tmp_path, monkeypatch):
    (tmp_path / "rows.jsonl").write_text('{"question": "One?", "answer": "1"}')
    monkeypatch.chdir(tmp_path)
    config = EnvConfig(path="qa", args={"path": "rows.jsonl", "question": "question"})
    assert resolve_config(config).args["path"] == str(tmp_path / "rows.jsonl")


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("arithmatic", "There is no environment 'arithmatic'. Did you mean 'arithmetic'?"),
        ("nowhere.py:Mine", "There is no file"),
        ("no.such.module:Mine", "There is no module 'no.such.module'"),
        (
            "munro.envs.arithmetic:Arithmetik",
            "no 'Arithmetik'. Did you mean 'Arithmetic'?",
        ),
        ("munro.envs.types:Task", "Task is no environment"),
        ("{mine}:Revers", "there is no 'Revers'. Did you mean 'Reverse'?"),
    ],
)
def test_a_wrong_name_gets_the_nearest_right_one(mine, path, sentence):
    with pytest.raises(BadEnvironment) as refused:
        load(path.format(mine=mine))
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("x = 1\ny = nowhere\n", "NameError: name 'nowhere' is not defined (mine.py:2)"),
        ("def broken(:\n", "(mine.py:1)"),
        ("import no_such_thing\n", "No module named 'no_such_thing' (mine.py:1)"),
        ("raise SystemExit(3)\n", "SystemExit: 3 (mine.py:1)"),
        ("x = 1\n", "holds no environment"),
        (f"{EVERY}class Mine(SingleTurn):\n    def tasks(self, split): ...\n", "lacks grade"),
    ],
)
def test_a_broken_file_is_one_sentence_with_its_line(mine, source, sentence):
    mine.write_text(source)
    path = f"{mine}:Mine" if "class Mine" in source else str(mine)
    with pytest.raises(BadEnvironment) as refused:
        load(path)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("bodies", "sentence"),
    [
        ({"tasks": "return []"}, "tasks('train') holds no tasks"),
        ({"tasks": "return 1 / 0"}, "ZeroDivisionError: division by zero (mine.py:5)"),
        ({"tasks": "return ['a']"}, "every item must be an munro.envs.Task"),
        ({"tasks": "return [Task(id='a')]"}, "task 'a' asks nothing"),
        ({"tasks": "return [Task(id='a', prompt='?')] * 2"}, "ids must be unique"),
        (
            {"tasks": "return [Task(id=str(random.random()), prompt='?')]"},
            "tasks('train') is not the same at every call",
        ),
        ({"tasks": "time.sleep(60)"}, "did not end within 1 s"),
        ({"grade": "return float('nan')"}, "returned nan as reward"),
        ({"grade": "return None"}, "returned None, so the attempt is unscored"),
        ({"grade": "return 'good'"}, "returned 'good' (str)"),
        ({"grade": "return task.payload['x']"}, "KeyError: 'x' (mine.py:7)"),
        ({"grade": "time.sleep(60)"}, "grading the gold reply did not end within 1 s"),
        ({"gold": "return 'no'"}, "the gold reply 'no' fails (reward 0)"),
        ({"grade": "return True"}, "silence passes"),
        ({"grade": "return reply != ''"}, "'I do not know.' passes"),
    ],
)
def test_a_broken_environment_is_one_line(mine, bodies, sentence):
    patience_s = 1 if "sleep" in str(bodies) else 60
    report = check(written(mine.parent, **bodies), check_deadline_s=patience_s)
    assert not report.is_ok
    assert sentence in report.problems[0]
    assert "\n" not in report.problems[0]


@pytest.mark.parametrize(
    ("bodies", "warning"),
    [
        ({"gold": "return None"}, "gold_reply gives nothing"),
        ({"grade": "return reply == 'Say'", "gold": "return 'Say'"}, "hold the gold reply"),
    ],
)
def test_what_is_merely_suspicious_is_a_warning(mine, bodies, warning):
    report = check(written(mine.parent, **bodies))
    assert report.is_ok
    assert any(warning in each for each in report.warnings)


@pytest.mark.parametrize("place", ["__init__", "tasks", "start", "grade", "gold_reply"])
def test_code_that_ends_its_process_is_a_finding_like_any_other(tmp_path, place):
    methods = {
        "__init__": "self",
        "tasks": "self, split",
        "start": "self, task",
        "grade": "self, task, reply",
        "gold_reply": "self, task",
    }
    file = tmp_path / "quits.py"
    file.write_text(
        "import sys\n\nfrom munro.envs import SingleTurn, Task\n\n\n"
        "class Base(SingleTurn):\n"
        "    def tasks(self, split):\n"
        "        return [Task(id=split, prompt='say yes')]\n\n"
        "    def grade(self, task, reply):\n"
        "        return reply == 'yes'\n\n\n"
        "class Quits(Base):\n"
        f"    def {place}({methods[place]}):\n"
        "        sys.exit(3)\n"
    )
    report = check(f"{file}:Quits")
    assert not report.is_ok
    assert "SystemExit: 3" in report.problems[0]
