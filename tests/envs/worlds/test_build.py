"""Folders of tasks: the same twice, proven again, and what is wrong with one is one line."""

from __future__ import annotations

import json

import pytest

from munro.envs.worlds.compose import compose
from munro.envs.worlds.errors import BadWorld
from munro.envs.worlds.making.build import Seen, build, check
from munro.envs.worlds.making.draw import SHARES, Menu, is_held_out
from munro.envs.worlds.making.folder import opened
from munro.envs.worlds.spec import domain


def library():
    return compose({"library": domain("library")})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("tasks")
    build(library(), Menu(shares=SHARES), made, num_tasks=60)
    return made


def contents(folder):
    return {
        file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*.json*")
    }


def test_the_same_arguments_write_the_same_bytes(folder, tmp_path):
    kinds = build(library(), Menu(shares=SHARES), tmp_path / "again", num_tasks=60)
    assert kinds.total() == 60
    assert contents(tmp_path / "again") == contents(folder)
    build(library(), Menu(shares=SHARES), tmp_path / "other", num_tasks=10, seed=1)
    assert contents(tmp_path / "other")["tasks.jsonl"] != contents(folder)["tasks.jsonl"]


def test_all_tasks_are_there_and_proven(folder):
    built = opened(folder)
    train, test = built.split("train"), built.split("test")
    assert len(train) + len(test) == 60
    assert len({name for name, _, _ in (*train, *test)}) == 60
    assert all(is_held_out(task.ask) for _, _, task in test)
    assert not any(is_held_out(task.ask) for _, _, task in train)
    assert check(folder) == []


def test_a_task_that_was_changed_is_found(folder, tmp_path):
    for file, data in contents(folder).items():
        (tmp_path / file).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / file).write_bytes(data)
    lines = (tmp_path / "tasks.jsonl").read_text().splitlines()
    place = next(n for n, line in enumerate(lines) if json.loads(line)["task"]["kind"] == "read")
    changed = json.loads(lines[place])
    changed["task"]["evidence"] = []
    lines[place] = json.dumps(changed)
    (tmp_path / "tasks.jsonl").write_text("\n".join(lines) + "\n")
    ((name, why),) = check(tmp_path)
    assert name == changed["id"]
    assert "passes" in why


@pytest.mark.parametrize(
    ("line", "said"),
    [("{", "tasks.jsonl:1 is no task"), ('{"id": 1}', "tasks.jsonl:1"), ("[]", "tasks.jsonl:1")],
)
def test_a_line_that_is_no_task_is_named(line, said, tmp_path):
    (tmp_path / "tasks.jsonl").write_text(line + "\n")
    with pytest.raises(BadWorld, match=said):
        opened(tmp_path)


def test_a_folder_that_holds_something_is_left_alone(folder, tmp_path):
    with pytest.raises(BadWorld, match="not empty"):
        build(library(), Menu(shares=SHARES), folder, num_tasks=10)
    with pytest.raises(BadWorld, match="munro world build"):
        opened(tmp_path)


def test_rows_that_are_no_world_are_named(folder, tmp_path):
    (tmp_path / "tasks.jsonl").write_bytes(contents(folder)["tasks.jsonl"])
    with pytest.raises(BadWorld, match=r"world-0000\.json is no world"):
        check(tmp_path)


def test_nearly_the_same_request_is_not_taken_again():
    seen = Seen()
    ask = "Please renew the loan of the library member Ann Lee due on 2026-03-05 by 9 days."
    assert seen.is_new(ask)
    seen.add(ask)
    assert not seen.is_new(ask)
    assert not seen.is_new(f"Hello. {ask}")
    assert seen.is_new(ask.replace("Ann Lee", "Bo Kim").replace("9 days", "4 days"))
