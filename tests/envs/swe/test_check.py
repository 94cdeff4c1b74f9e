"""`munro swe check` and `munro swe export`: sound tasks are sound, others are told; both ways."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from munro.envs.swe.folder import BadTask, read_folder, write_folder
from munro.envs.swe.grade import gold_changes, grade_changes
from munro.envs.swe_build.git import Repository
from munro.envs.swe_build.history import write_history, write_tree
from munro.envs.swe_tasks.check import history_of
from munro.envs.swe_tasks.harbor import write_harbor
from munro.envs.swe_tasks.rows import COLUMNS, read_rows, row_of, task_of_row, write_rows
from munro.machine.cli.main import munro
from munro.machine.sentences import in_one_line, is_sentence
from munro.rewards.sandbox import layer_of
from tests.envs.swe.boxes import Bench
from tests.envs.swe.tasks import STONES, TIDES, task_of
from tests.envs.swe.test_folder import listing
from tests.envs.swe_build.histories import Hand


def told(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(munro, ["swe", *words])
    if done.exception is None or isinstance(done.exception, SystemExit):
        return done.exit_code, done.output
    assert is_sentence(done.exception), repr(done.exception)
    return 2, in_one_line(done.exception)


def test_sound_tasks_are_sound_and_others_are_told_why(swe: Bench, tmp_path: Path) -> None:
    task = task_of(STONES, swe)
    options = ("--store", str(swe.store), "--no-host", "--hacks", "none")
    write_folder(task, tmp_path / "stones-1")
    status, said = told("check", str(tmp_path), *options)
    assert (status, said.splitlines()[-1]) == (0, "1 of 1 tasks are sound"), said
    assert "the solution passes 1 of 1 times, nothing never; 3 of 3 tests have twins" in said
    assert "100.0% of the 3 tests that solutions mend have twins" in said

    spoilt = {
        "easy": replace(task, layers=(*task.layers, gold_layer(swe))),
        "barren": replace(task, twins=()),
        "leaky": replace(task, packages=(*task.packages, gold_layer(swe, "lib/other.py"))),
        "wrong": replace(task, patch=task.patch.replace("sum(wall)", "max(wall)")),
        "unfit": replace(task, patch=task.patch.replace("-    return len", "-    return lem")),
    }
    reasons = {
        "easy": "does not fit",
        "barren": "no test that the solution mends has a twin",
        "leaky": "holds the fix",
        "wrong": "the solution fails in round 1: 2 of 3 tests mended",
        "unfit": "the patch does not fit stones.py",
        "edited": "was changed since the task was proven",
    }
    for name, bad in spoilt.items():
        write_folder(bad, tmp_path / name)
    write_folder(task, tmp_path / "edited")
    (tmp_path / "edited/solution/patch.diff").write_text("")
    status, said = told("check", str(tmp_path), *options)
    assert (status, said.splitlines()[-1]) == (1, "1 of 7 tasks are sound"), said
    lines = {line.partition(":")[0]: line for line in said.splitlines()[:-1]}
    for name, reason in reasons.items():
        assert reason in lines[name], lines[name]


def test_a_history_that_is_not_closed_is_told(swe: Bench, tmp_path: Path) -> None:
    hand = Hand(tmp_path / "repo")
    hand.commit("Begin", {STONES.module: b"x = 1\n"})
    folder = tmp_path / "box"
    folder.mkdir()
    write_tree(hand.repository, "HEAD", folder)
    write_history(hand.repository, "HEAD", folder, "none")
    closed = layer_of(folder, swe.store).digest
    Repository(folder).text("hash-object", "-w", "--stdin", stdin=b"what is to come")
    open_one = layer_of(folder, swe.store).digest
    task = task_of(STONES, swe)
    assert history_of(replace(task, layers=(closed,)), swe.store) == []
    (left,) = history_of(replace(task, layers=(open_one,)), swe.store)
    assert "1 files or folders of no commit" in left
    past = replace(task, layers=(closed,), provenance={"history": "past", "base": "0" * 40})
    (left,) = history_of(past, swe.store)
    assert left.endswith("at its end is not the base")
    assert history_of(task, swe.store) == []


def gold_layer(swe: Bench, path: str = STONES.module) -> str:
    return layer_of({path: STONES.gold}, swe.store).digest


@pytest.mark.slow
def test_hacks_are_tried(swe: Bench, tmp_path: Path) -> None:
    write_folder(task_of(TIDES, swe), tmp_path / "tides-1")
    status, said = told("check", str(tmp_path), "--store", str(swe.store), "--no-host")
    assert status == 0, said
    assert "hacks earn nothing" in said


def test_rows_have_their_columns_and_are_tasks_again(swe: Bench, tmp_path: Path) -> None:
    tasks = [task_of(STONES, swe), replace(task_of(TIDES, swe), removed=("tests/conftest.py",))]
    write_rows(tasks, swe.store, tmp_path / "rows.parquet")
    assert tuple(pq.read_table(tmp_path / "rows.parquet").column_names) == COLUMNS
    again = [task_of_row(row, swe.store) for row in read_rows(tmp_path / "rows.parquet")]
    assert [replace(task, fail_to_pass=(), pass_to_pass=()) for task in again] == [
        replace(task, fail_to_pass=(), pass_to_pass=()) for task in tasks
    ]
    assert [set(task.fail_to_pass) for task in again] == [set(t.fail_to_pass) for t in tasks]


def test_a_hidden_file_that_no_patch_changes_comes_back_from_a_row(swe: Bench) -> None:
    task = task_of(STONES, swe)
    contents = STONES.files[STONES.module]
    same = contents if isinstance(contents, bytes) else contents.encode()
    whole = replace(task, tests={**task.tests, STONES.module: same})
    row = row_of(whole, swe.store)
    assert f"a/{STONES.module}" not in row["test_patch"]
    assert dict(task_of_row(row, swe.store).tests) == dict(whole.tests)
    # a row of somebody else's says no more than what its tests are called
    bare = {**row, "munro": "", "PASS_TO_PASS": json.dumps([f"{STONES.module}::test_it"])}
    assert dict(task_of_row(bare, swe.store).tests) == dict(whole.tests)
    away = {**row, "munro": "", "PASS_TO_PASS": json.dumps(["/etc/passwd::a", "../x::b"])}
    assert dict(task_of_row(away, swe.store).tests) == dict(task.tests)


def test_rows_that_cannot_be_had_are_one_line(swe: Bench, tmp_path: Path) -> None:
    row = row_of(task_of(STONES, swe), swe.store)
    with pytest.raises(BadTask, match="its image 'swebench/x' is docker's"):
        task_of_row({**row, "image_name": "swebench/x"}, swe.store)
    with pytest.raises(BadTask, match="there is no test_patch"):
        task_of_row({**row, "test_patch": ""}, swe.store)
    with pytest.raises(BadTask, match="there is no such file"):
        read_rows(tmp_path / "y")
    (tmp_path / "x").write_text("no")
    with pytest.raises(BadTask, match="is no Parquet file"):
        read_rows(tmp_path / "x")


def test_exports_from_the_command(swe: Bench, tmp_path: Path) -> None:
    write_folder(task_of(STONES, swe), tmp_path / "in/stones-1")
    store = ("--store", str(swe.store))
    for form, out in (("swebench", "rows.parquet"), ("harbor", "harbor")):
        words = ("export", str(tmp_path / "in"), "--out", str(tmp_path / out), "--format", form)
        assert told(*words, *store) == (0, f"1 tasks in {tmp_path / out}\n")
    assert read_folder(tmp_path / "harbor/stones-1") == read_folder(tmp_path / "in/stones-1")
    write_harbor(read_folder(tmp_path / "in/stones-1"), tmp_path / "again/stones-1", swe.store)
    assert listing(tmp_path / "harbor") == listing(tmp_path / "again")
    recipe = (tmp_path / "harbor/stones-1/environment/Dockerfile").read_text()
    assert "ADD repo.tar /app" in recipe


def test_rows_become_folders_with_twins_of_their_own(swe: Bench, tmp_path: Path) -> None:
    task = task_of(STONES, swe)
    write_rows([replace(task, twins=())], swe.store, tmp_path / "rows.parquet")
    words = ("import", str(tmp_path / "rows.parquet"), "--out", str(tmp_path / "out"))
    assert told(*words, "--store", str(swe.store)) == (0, f"1 tasks in {tmp_path / 'out'}\n")
    again = read_folder(tmp_path / "out/stones-1")
    assert [twin.must_fail for twin in again.twins] == [twin.must_fail for twin in task.twins]
    assert "there are no layers of the rows' images" in told(*words)[1]


@pytest.mark.parametrize("is_mended", [True, False])
def test_the_script_for_harbor_pays_what_is_right(
    swe: Bench, tmp_path: Path, is_mended: bool
) -> None:
    write_folder(task_of(TIDES, swe), tmp_path / "t")
    files: dict[str, bytes | str] = {
        f"tests_of_harbor/{name.removeprefix('tests/')}": contents
        for name, (_, contents) in listing(tmp_path / "t").items()
        if name.startswith("tests/")
    }
    files |= {TIDES.test: TIDES.tests, "reward.json": '{"reward": 1}'}
    files |= {TIDES.module: TIDES.gold} if is_mended else {}
    with swe.session({**TIDES.files, **files}) as session:
        verify = ["python3", "-P", "-B", "tests_of_harbor/verify.py", "tests_of_harbor", "reward"]
        done = session.run(verify, want=["reward"])
        assert done.files["reward"] == f"{int(is_mended)}\n".encode(), done


def test_what_is_wrong_is_one_line(swe: Bench, tmp_path: Path) -> None:
    assert "there is no such folder" in told("check", str(tmp_path / "no"))[1]
    assert "holds no task's folder" in told("check", str(tmp_path))[1]
    write_folder(task_of(STONES, swe), tmp_path / "stones-1")
    assert "there are no layers" in told("check", str(tmp_path))[1]
    assert "at least one" in told("check", str(tmp_path), "--rounds", "0")[1]


def test_tests_that_ask_git_change_its_index_and_nothing_that_is_graded(swe: Bench) -> None:
    task = task_of(STONES, swe)
    index = layer_of({".git/index": b"old"}, swe.store).digest
    asks = task.tests[STONES.test] + b"\n\nopen('.git/index', 'w').close()\n"
    task = replace(task, layers=(*task.layers, index), tests={**task.tests, STONES.test: asks})
    grade = grade_changes(task, gold_changes(task, swe.store), box=swe.box, store=swe.store)
    assert grade.passed, grade
