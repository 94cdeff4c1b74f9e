"""A kind of grader is one file, wherever it lies: found by path, and by an entry point."""

from __future__ import annotations

import asyncio
import json

import pytest

from munro.envs import BadEnvironment
from munro.envs.check import play
from munro.envs.loader import load_config, resolve_config
from munro.machine.cli.main import munro
from munro.machine.loading import BadConfig, load
from munro.rewards import kinds, service
from munro.rewards.config import PoolConfig, RewardsConfig, ServiceConfig
from munro.rewards.service.setup import anywhere
from tests.rewards.plugged import installed

MINE = '''
"""Says the word."""

from beside import WORD
from munro.rewards import Grade
from munro.rewards.kinds import Field, Grader, Kind


class Polite(Grader):
    """Asks nicely."""

    kind = Kind(fields={"wish": Field(what="what to ask for")}, workers=1)

    def __init__(self, word: str = WORD, bonus: float = 0.0) -> None:
        if not word:
            raise ValueError("word is empty: give one.")
        self._word, self._bonus = word, bonus

    def grade(self, item):
        wishes = item["wish"] in item["response"]
        return Grade(reward=float(wishes and self._word in item["response"]) + self._bonus)
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of the user's, with a grader and a helper beside it; we stand in it."""
    here = tmp_path / "theirs"
    here.mkdir()
    (here / "mine.py").write_text(MINE)
    (here / "beside.py").write_text('WORD = "please"\n')
    monkeypatch.chdir(here)
    yield here
    service.close()


@pytest.fixture
def package(folder, monkeypatch):
    """The same, as an installed package that names it "polite"."""
    (folder / "manners.py").write_text(MINE)
    monkeypatch.syspath_prepend(installed(folder, "munro.graders", polite="manners:Polite"))


def recipe_of(folder, kind):
    recipe = folder / "recipe.toml"
    recipe.write_text(
        f"""
        num_steps = 1
        [env]
        path = "prompts"
        args = {{ prompts = [{{ prompt = "Ask for tea.", wish = "tea" }}], test_share = 0 }}
        [env.graders.manners]
        kind = "{kind}"
        range = [0, 2]
        args = {{ bonus = 1.0 }}
        [env.reward]
        kind = "sum"
        parts = ["manners"]
        [rewards.service.pools."{kind}"]
        timeout_s = 7
        """
    )
    return load(str(recipe))


REPLIES = {"tea, please": 2.0, "tea!": 1.0, "please": 1.0}


def rewards(environment):
    (task,) = environment.tasks("train")

    async def run():
        return [(await play(environment, task, [reply]))[0].reward for reply in REPLIES]

    return asyncio.run(run())


def test_a_recipe_names_a_file_and_another_process_in_another_folder_finds_it(
    folder, tmp_path, monkeypatch
):
    config = recipe_of(folder, "./mine.py:Polite")
    env, sizes = resolve_config(config.env[0]), anywhere(config.rewards)
    monkeypatch.chdir(tmp_path)
    assert env.graders["manners"].kind == f"{folder}/mine.py:Polite"
    assert sizes.service.pools[f"{folder}/mine.py:Polite"].timeout_s == 7
    service.use(service.GradingService.of(sizes))
    assert rewards(load_config(env)) == list(REPLIES.values())
    # graded in a child process, in a pool of its own
    assert service.current().metrics()["grade/mine.py:Polite/graded"] == 3


def test_a_recipe_names_an_entry_point_of_a_package(folder, package):
    config = recipe_of(folder, "polite")
    service.use(service.GradingService.of(config.rewards))
    assert rewards(load_config(resolve_config(config.env[0]))) == list(REPLIES.values())


@pytest.mark.parametrize("kind", ["./mine.py", "./mine.py:Polite", "mine:Polite", "polite"])
def test_munro_grade_takes_it_by_path_by_module_and_by_name(
    kind, folder, package, monkeypatch, capsys
):
    monkeypatch.syspath_prepend(folder)
    rows = [{"response": reply, "wish": "tea"} for reply in REPLIES]
    (folder / "replies.jsonl").write_text("\n".join(map(json.dumps, rows)))
    arguments = ["grade", "replies.jsonl", "--kind", kind, "--out", "out.jsonl", "--bonus", "1"]
    with pytest.raises(SystemExit) as leaving:
        munro.main(arguments, standalone_mode=False)
    assert leaving.value.code == 0
    graded = map(json.loads, (folder / "out.jsonl").read_text().splitlines())
    assert {row["line"]: row["reward"] for row in graded} == dict(enumerate(REPLIES.values(), 1))


def test_an_edited_file_is_read_again(folder):
    assert kinds.make("./mine.py").grade({"response": "tea please", "wish": "tea"}).reward == 1
    (folder / "mine.py").write_text(MINE.replace("float(wishes", "float(not wishes"))
    assert kinds.make("./mine.py").grade({"response": "tea please", "wish": "tea"}).reward == 0


def test_the_help_lists_ours_with_their_fields_and_imports_nobody_elses(monkeypatch, tmp_path):
    (tmp_path / "broken.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(installed(tmp_path, "munro.graders", odd="broken:Odd"))
    said = kinds.described()
    assert "odd: installed (broken:Odd)" in said
    assert "math: the final answer, compared as mathematics" in said
    for name in ("judge", "code", "instructions", "brevity", "length_range", "preference"):
        assert f"\n{name}" in f"\n{said}"


def graded_by(kind, **options):
    with service.GradingService() as graders:
        return graders.grade(kind, {"response": "x"}, options=options)


CLASS = "from munro.rewards import Grade\nfrom munro.rewards.kinds import Grader, Kind\n"
GRADE = "    def grade(self, item): ...\n"


@pytest.mark.parametrize(
    ("text", "kind", "sentence"),
    [
        ("", "./their.py", "There is no file"),
        ("x = 1\n", "./mine.py", "but it holds no grader"),
        (f"{CLASS}class A(Grader): pass\n", "./mine.py:A", "A lacks grade"),
        (f"{CLASS}class A(Grader): kind = 1\n", "./mine.py:B", "no 'B'"),
        (
            f"{CLASS}class A(Grader):\n    kind = 'x'\n{GRADE}",
            "./mine.py",
            "A.kind is no Kind",
        ),
        ("import nothing_like_it\n", "./mine.py", "cannot be imported: ModuleNotFoundError"),
        ("raise SystemExit(3)\n", "./mine.py", "cannot be imported: SystemExit"),
        (
            f"{CLASS}class A(Grader):\n    def __init__(self, x): ...\n{GRADE}",
            "./mine.py",
            "needs the option 'x'",
        ),
        (
            f"{CLASS}class A(Grader):\n    def __init__(self): 1 / 0\n{GRADE}",
            "./mine.py",
            "cannot be made: ZeroDivisionError: division by zero (mine.py:4)",
        ),
    ],
)
def test_what_is_no_grader_is_told_in_a_sentence_before_anything_is_graded(
    text, kind, sentence, folder
):
    (folder / "mine.py").write_text(text)
    (folder / "replies.jsonl").write_text('{"response": "x"}\n')
    with pytest.raises(BadConfig) as refusal:
        munro.main(["grade", "replies.jsonl", "--kind", kind], standalone_mode=False)
    assert sentence in str(refusal.value)
    assert "\n" not in str(refusal.value)
    with pytest.raises(BadEnvironment) as refusal:
        load_config(resolve_config(recipe_of(folder, kind).env[0]))
    assert "env.graders.manners: " in str(refusal.value)


@pytest.mark.parametrize("in_process", [True, False])
def test_a_grader_that_returns_no_grade_says_what_to_return(in_process, folder):
    (folder / "mine.py").write_text(
        f"{CLASS}class A(Grader):\n    kind = Kind(in_process={in_process})\n"
        "    def grade(self, item): return True\n"
    )
    with pytest.raises(Exception, match=r"returned True \(bool\): return a Grade, such as"):
        graded_by("./mine.py")


def test_a_name_of_nothing_is_refused_by_the_config_and_a_file_only_when_it_is_loaded(folder):
    with pytest.raises(BadConfig, match=r"There is no grader 'maths'. Did you mean 'math'\?"):
        recipe_of(folder, "maths")
    with pytest.raises(ValueError, match="Did you mean 'math'"):
        ServiceConfig(pools={"maths": PoolConfig()})
    assert recipe_of(folder, "./elsewhere.py:Their").env[0].graders["manners"]


def test_what_a_recipe_says_of_a_kind_stands_in_the_kind():
    rewards = RewardsConfig(workers=5, memory_mb=256, judge="house")
    assert kinds.find("math").usual(rewards).options == {"judge": "house"}
    assert kinds.find("math").usual(rewards).sizes["memory_mb"] == 256
    assert kinds.find("code").usual(rewards).options["sandbox"]["backend"] == "namespaces"
    assert kinds.find("brevity").usual(rewards) == kinds.Usual()
