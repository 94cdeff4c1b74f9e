"""What a side may say, and what may be wrong with one: a sentence, or an unscored attempt."""

from __future__ import annotations

import importlib.util
import stat
import sys
from pathlib import Path
from types import ModuleType

import pytest

from munro.envs import EnvironmentFailure
from munro.envs.check import check
from munro.envs.loader import EnvConfig, load_config, resolve_config
from munro.envs.remote import SIDES, Remote
from munro.envs.remote.wire import BadAnswer, parsed
from tests.envs.remote import sides

OBEDIENT = """
def tasks(self, split):
    return eval(split) if split != "train" else super().tasks(split)
def start(self, task): return {"word": "A", "shouted": []}
def reply(self, episode, message):
    what, _, said = message["content"].partition(":")
    return eval(said) if what == "reply" else None
def grade(self, episode, trajectory):
    what, _, said = trajectory["reply"].partition(":")
    return eval(said) if what == "grade" else 1.0
"""
"""Does what it is told to, in this test alone."""


@pytest.fixture(scope="module")
def obedient(tmp_path_factory: pytest.TempPathFactory) -> Remote:
    return sides.of(sides.written(tmp_path_factory.mktemp("obedient"), OBEDIENT))


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("grade:{'reward': float('nan')}", "not JSON compliant"),
        ("grade:10 ** 400", "int too large to convert to float"),
        ("grade:{'reward': 10 ** 400}", "reward is 1000"),
        ("grade:{'reward': '1'}", "reward is '1', and must be"),
        ("grade:{'reward': True}", "reward is True, and must be"),
        ("grade:{'reward': 1, 'passed': 'yes'}", "passed is 'yes'"),
        ("grade:{'reward': 1, 'parts': {'a': None}}", "parts.a is None"),
        ("grade:{'passed': True}", "the grade has no reward"),
        ("grade:None", "the grade is None, so the attempt is unscored"),
        ("grade:[]", "TypeError"),
        ("grade:1 / 0", "ZeroDivisionError: division by zero"),
        ("grade:sys.exit(3)", "SystemExit: 3"),
        ("reply:3", "observations is 3, and must be a list"),
        ("reply:[3]", "observations[0] is 3, and must be an object"),
        ("reply:[{'role': 'god'}]", "role is 'god'"),
        ("reply:[{'role': 'assistant', 'content': ''}]", "of the policy"),
        ("reply:[{'content': b'x'}]", "not JSON serializable"),
        ("reply:[{'content': 'x' * (17 << 20)}]", "would answer 17,825"),
        ("reply:[{'content': ''}] * 1001", "1001 observations in one turn"),
    ],
)
def test_an_answer_of_the_wrong_kind_is_unscored(obedient: Remote, said: str, why: str) -> None:
    with pytest.raises(EnvironmentFailure) as failure:
        sides.play(obedient, sides.first(obedient), said)
    assert why in str(failure.value)
    assert len(obedient.pids()) == 1  # and it lives on


@pytest.mark.parametrize(
    ("split", "why"),
    [
        ("[3]", "tasks[0] is 3, and must be an object"),
        ("[{'id': 1}]", "tasks[0].id is 1, and must be a text"),
        ("[{'id': 'a'}]", "tasks[0].prompt is None"),
        ("3", "'int' object is not iterable"),
        ("[{'id': 'a', 'prompt': 'a', 'budget': {'turns': -1}}]", "tasks[0].budget.turns"),
        ("[{'id': 'a', 'prompt': 'a', 'tools': [{}]}]", "tasks[0].tools[0].function is None"),
        ("[{'id': 'a', 'prompt': 'a', 'labels': {'a': 1}}]", "tasks[0].labels.a is 1"),
    ],
)
def test_tasks_that_are_none_are_refused(obedient: Remote, split: str, why: str) -> None:
    with pytest.raises((ValueError, EnvironmentFailure)) as refusal:
        obedient.tasks(split)
    assert why in str(refusal.value)


def test_what_it_prints_does_not_break_the_line(obedient: Remote) -> None:
    noise = "print('x', flush=True), os.write(1, b'C' * 100000), os.system('echo child')"
    said = f"reply:({noise}, [{{'content': sys.stdin.read()}}])[-1]"
    done = sides.play(obedient, sides.first(obedient), said)
    assert done.trajectory.messages[1].content == ""


def test_half_a_surrogate_pair_is_no_text_for_anybody(obedient: Remote) -> None:
    done = sides.play(obedient, sides.first(obedient), r"reply:[{'content': '\ud800'}]")
    assert done.trajectory.messages[1].content == r"\ud800"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"[1, 2]", "no object"),
        (b'{"id": NaN}', "no number"),
        (b"[" * 60000, "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b'{"id": ' + b"9" * 5000 + b"}", "no JSON"),
    ],
)
def test_lines_that_are_no_answers(line: bytes, why: str) -> None:
    with pytest.raises(BadAnswer, match=why):
        parsed(line)


SPOIL = """
def spoil(episode, message):
    # the line's own descriptor: a pipe to write to that is neither stdout nor stderr
    for descriptor in range(3, 64):
        try:
            target = os.readlink(f"/proc/self/fd/{descriptor}")
            flags = int(open(f"/proc/self/fdinfo/{descriptor}").read().split()[3], 8)
        except OSError:
            continue
        if target.startswith("pipe:") and flags & 1:
            rest = memoryview(SAID)
            while rest:
                rest = rest[os.write(descriptor, rest):]
            break
"""


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("b'hello\\n'", "no answer of the protocol: it is no JSON"),
        ('b\'{"id": 999, "episode": ""}\\n\'', "nobody asked question 999"),
        ('b\'{"id": 4, "episode": "e77"}\\n\'', "of episode 'e77', asked was 'e0'"),
        ("bytes(50 << 20)", "an answer of more than 16 MiB"),
    ],
)
def test_a_line_that_is_no_answer_ends_the_process(tmp_path: Path, said: str, why: str) -> None:
    env = sides.of(sides.raw(tmp_path, f"SAID = {said}\n{SPOIL}"))
    (task,) = env.tasks("train")
    pids = sides.below(env.pids()[0])
    with pytest.raises(EnvironmentFailure, match="side side: ") as failure:
        sides.play(env, task, "x")
    assert why in str(failure.value)
    assert "\n" not in str(failure.value)
    assert len(str(failure.value)) < 400
    assert sides.gone(pids)


@pytest.fixture(scope="module")
def serve() -> ModuleType:
    """What makes a side there, loaded here."""
    spec = importlib.util.spec_from_file_location("serve_here", SIDES / "serve.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("body", "args", "why"),
    [
        ("def __init__(self): import not_there", {}, f"{sys.executable} cannot import what the "
         f"side needs (No module named 'not_there'): {sys.executable} -m pip install not-there>=2"),
        ("def __init__(self): raise ValueError('no such data')", {}, "no such data"),
        ("def __init__(self, needed): pass", {}, "the side needs the argument 'needed'"),
        ("def __init__(self, words): pass", {"wrods": 1}, "the side takes no argument 'wrods': did "
         "you mean 'words'?"),
        ("tasks = None", {}, "Side lacks tasks"),
    ],
)  # fmt: skip
def test_a_side_that_cannot_be_made_is_one_sentence(
    serve: ModuleType, tmp_path: Path, body: str, args: dict[str, int], why: str
) -> None:
    file = sides.written(tmp_path, body, head="INSTALL = 'not-there>=2'")
    with pytest.raises(serve.Refusal) as refusal:
        serve._made(str(file), args)
    assert str(refusal.value).endswith(why)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("def __init__(self): print('Aaargh', file=sys.stderr); os._exit(7)",
         "the process ended by itself with status 7; its last words: 'Aaargh'"),
    ],
)  # fmt: skip
def test_a_side_that_cannot_be_used_is_one_line(tmp_path: Path, body: str, why: str) -> None:
    side = str(sides.written(tmp_path, body))
    (problem,) = check("remote", python=sys.executable, side=side).problems
    assert why in problem
    assert "\n" not in problem


def test_a_side_that_hangs_at_its_start_is_given_up(tmp_path: Path) -> None:
    file = sides.written(tmp_path, "def __init__(self): time.sleep(1000)")
    with pytest.raises(ValueError, match="no answer to 'open' in its time"):
        sides.of(file, open_s=0.3)


def shell(folder: Path, text: str) -> str:
    """A program that stands for an interpreter."""
    file = folder / "python"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return str(file)


OLD = """exec {python} -c 'import sys, runpy
sys.version_info = (3, 8, 0)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")' "$3" "$4"
"""


def test_interpreters_that_are_none(tmp_path: Path) -> None:
    not_one = tmp_path / "file"
    not_one.write_text("")
    for python, why in {
        "/not/there/python": "python = '/not/there/python' does not exist: give the interpreter",
        str(not_one): "is no program that can be run",
        str(tmp_path): "is no program that can be run",
        "/bin/false": "the process ended by itself with status 1",
        "/bin/echo": "no answer of the protocol",
        shell(tmp_path, OLD.format(python=sys.executable)): "is Python 3.8, and sides need 3.10",
    }.items():
        with pytest.raises(ValueError, match=why) as refusal:
            Remote(python=python, side="echo")
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("args", "why"),
    [
        ({"side": "ecko"}, "there is none of that name. Did you mean 'echo'?"),
        ({"side": "nowhere.py"}, "there is no file"),
        ({"side": "echo", "processes": 0}, "processes = 0: at least one."),
    ],
)
def test_arguments_that_are_wrong(args: dict[str, object], why: str) -> None:
    (problem,) = check("remote", python=sys.executable, **args).problems
    assert why in problem


def test_a_venvs_interpreter_and_a_sides_files_keep_their_names_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "python").symlink_to(sys.executable)
    (tmp_path / "rows.jsonl").write_text("")
    # a module beside it of the name of one of our sides is the one that is found
    (tmp_path / "verifiers.py").write_text("NAME = 'mine'\n")
    body = (
        "def __init__(self, rows):\n"
        "    import verifiers\n"
        "    super().__init__([os.path.basename(rows), verifiers.NAME])"
    )
    sides.written(tmp_path, body, head='FILES = ("rows",)')
    monkeypatch.chdir(tmp_path)
    args = {"python": "./python", "side": "side.py", "rows": "rows.jsonl"}
    found = resolve_config(EnvConfig(path="remote", args=args))
    assert found.args == {
        "python": str(tmp_path / "python"),
        "side": str(tmp_path / "side.py"),
        "rows": str(tmp_path / "rows.jsonl"),
    }
    monkeypatch.chdir("/")
    assert [task.id for task in load_config(found).tasks("train")] == ["rows.jsonl", "mine"]
