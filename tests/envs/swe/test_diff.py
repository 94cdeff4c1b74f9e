"""What graders read of a repository's changes: right, in linear time, and nothing is run for it."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

import pytest

from munro.envs import loader
from munro.envs.check.playing import played
from munro.envs.combined import Combined
from munro.envs.config import EnvConfig
from munro.envs.swe.diff import MOST_CHARS, diff_of
from munro.envs.swe.folder import write_folder
from munro.rewards.sandbox import Change, Kind
from tests.envs.swe.boxes import Bench
from tests.envs.swe.tasks import STONES, task_of
from tests.rewards.judges import ScriptedJudge, material, says

LINES = [f"line {n}\n" for n in range(2000)]


def file(path: str, text: str | bytes) -> Change:
    contents = text.encode() if isinstance(text, str) else text
    return Change(path=path, kind=Kind.FILE, contents=contents, size=len(contents))


def applied(old: str, diff: str, folder: Path) -> str:
    """What `git apply` makes of a file."""
    (folder / "a.py").write_text(old)
    done = subprocess.run(
        ["git", "apply", "-p1", "-"], input=diff, text=True, cwd=folder, capture_output=True
    )
    assert done.returncode == 0, (done.stderr, diff[:400])
    return (folder / "a.py").read_text()


@pytest.mark.parametrize(
    "new",
    [
        [*LINES[:3], "new\n", *LINES[4:]],
        [*LINES[1:], "end\n"],
        ["begin\n", *LINES],
        LINES[:1000],
        [*LINES[:10], "x\n", *LINES[12:1900], "y\n", *LINES[1900:]],
        LINES[::-1],
    ],
    ids=["one line", "ends", "begin", "half", "two places", "turned round"],
)
def test_a_diff_applied_to_the_old_file_is_the_new_one(new, tmp_path):
    old, made = "".join(LINES), "".join(new)
    diff = diff_of([file("a.py", made)], lambda path: old.encode())
    assert applied(old, diff, tmp_path) == made


def test_every_kind_of_change_is_told_and_what_is_nobody_s_work_is_not():
    before = {"a.py": b"x = 1\n", "old.py": b"gone\n", "same.py": b"same\n"}
    changes = [
        file("a.py", "x = 2\n"),
        file("new.py", "y = 1\n"),
        Change(path="old.py", kind=Kind.DELETED),
        file("same.py", "same\n"),
        file("data.bin", b"\x00\x01"),
        file("latin.txt", b"\xff"),
        Change(path="link", kind=Kind.LINK, target="/proc/self/fd\nx"),
        Change(path="pipe", kind=Kind.OTHER),
        Change(path="big", kind=Kind.FILE, contents=None, size=1 << 40),
        Change(path="folder", kind=Kind.FOLDER),
        file(".git/index", "x"),
        file("src/__pycache__/a.pyc", b"x"),
    ]
    told = diff_of(changes, before.get)
    for line in (
        "--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n-x = 1\n+x = 2\n",
        "--- /dev/null\n+++ b/new.py\n",
        "--- a/old.py\n+++ /dev/null\n",
        "data.bin is changed and is no text (0 bytes before, 2 after)\n",
        "latin.txt is changed and is no text",
        "link is a link to /proc/self/fd\\nx\n",
        "pipe is no plain file\n",
        "big is changed (0 bytes before, 1,099,511,627,776 after)\n",
    ):
        assert line in told
    assert not any(name in told for name in ("same.py", "folder", ".git/", "pyc"))
    assert diff_of([], before.get) == ""


def test_a_diff_has_an_end_and_hostile_files_are_no_slower():
    many = [file(f"{n}.py", "".join(LINES)) for n in range(30)]
    told = diff_of(many, lambda path: None)
    assert len(told) < MOST_CHARS + 100
    assert told.endswith("more changed files are not shown\n")
    alike = "a\nb\n" * 60_000
    assert diff_of([file("a.py", "b\n" + alike)], lambda path: alike.encode())


def test_a_grader_of_the_climb_reads_the_diff_at_once_and_after_the_box_is_gone(
    swe: Bench, tmp_path
) -> None:
    task = task_of(STONES, swe)
    write_folder(task, tmp_path / task.id)
    env = loader.load("swe", path=str(tmp_path), store=str(swe.store), test_share=0.0)
    seen = []

    def answer(body):
        seen.append(body)
        return says(found="no", turn=0)

    with ScriptedJudge(answer) as server:
        judge = {"model": "scripted", "base_url": server.url, "cache": ""}
        one = {"kind": "monitor", "args": {"judge": judge, "classes": "edits_tests"}}
        config = EnvConfig.model_validate(
            {
                "path": "x",
                "graders": {
                    "watched": one,
                    "late": {**one, "late": True},
                    "effort": {"kind": "conduct"},
                },
                "reward": {"kind": "gated", "gate": "watched", "then": "effort"},
            }
        )
        combined = Combined(env, config.graders, config.reward)
        (asked,) = combined.tasks("train")

        async def run():
            edit = {"command": "create", "path": "new.py", "file_text": "x = 1\n"}
            call = json.dumps({"name": "str_replace_editor", "arguments": edit})
            done = await played(combined, asked, [f"<tool_call>{call}</tool_call>", "Done."])
            return await combined.grade_group(asked, [done.trajectory], [done.grade])

        (grade,) = asyncio.run(run())
    env.sandbox.close()
    assert grade.reward == 1, grade
    assert len(seen) == 2
    for body in seen:
        assert "| +++ b/new.py\n| @@ -0,0 +1 @@\n| +x = 1" in material(body, "DIFF")
        assert "## turn 1: the agent's call 1" in material(body, "TRANSCRIPT")
