"""The shell and the editor of an agent, and episodes that go on after their box was lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from munro.envs import EnvironmentFailure, Grade, Message, Task, ToolCall
from munro.envs.base import BOX_MB
from munro.envs.check import check
from munro.envs.combined import Combined
from munro.envs.config import EnvConfig
from munro.envs.shell import BOX, Shell, ShellEpisode
from munro.rewards.combine.parts import OWN
from munro.rewards.errors import SandboxError
from munro.rewards.sandbox import Image, layer_of

FILES = {
    "src/stones.py": "HEIGHT = 3\n\n\ndef height():\n    return HEIGHT\n",
    "src/twice.txt": "one\ntwo\none\n",
    "run.sh": "#!/bin/sh\necho ran\n",
    "noend": "last",
}
HERE = Path(__file__)


class Cairn(Shell):
    """Make the stones four high."""

    default_wall_s = 20.0

    def tasks(self, split):
        return [
            Task(id=f"{split}{n}", prompt=f"Make it {n} high.", payload={"n": n}) for n in (4, 5)
        ]

    def image(self, task):
        return Image(layers=(layer_of(FILES, self.store),))

    def grade(self, task, reply, state):
        command = ["python3", "-B", "-c", "import stones; print(stones.height())"]
        done = state[BOX].session.run(["sh", "-c", 'cd src && exec "$@"', "-", *command])
        return Grade.of(done.stdout.strip() == str(task.payload["n"]).encode())

    def gold_reply(self, task):
        arguments = {
            "command": "str_replace",
            "path": "src/stones.py",
            "old_str": "HEIGHT = 3",
            "new_str": f"HEIGHT = {task.payload['n']}",
        }
        call = json.dumps({"name": "str_replace_editor", "arguments": arguments})
        return [f"<tool_call>{call}</tool_call>", "Done."]


@pytest.fixture(scope="module")
def cairn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cairn]:
    environment = Cairn(store=str(tmp_path_factory.mktemp("layers")))
    yield environment
    environment.sandbox.close()


class Agent:
    """One episode, played call by call."""

    def __init__(self, cairn: Cairn, episode: ShellEpisode | None = None) -> None:
        self.task = cairn.tasks("train")[0]
        self.episode = episode or cairn.start(self.task)
        self.number = 0

    async def call(self, name: str, **arguments: object) -> str:
        self.number += 1
        made = ToolCall(id=f"call{self.number}", name=name, arguments=json.dumps(arguments))
        turn = Message(role="assistant", content="", tool_calls=(made,), is_sampled=True)
        (answer,) = await self.episode.reply(turn)
        return answer.content

    async def bash(self, command: str, **more: object) -> str:
        return await self.call("bash", command=command, **more)

    async def edit(self, command: str, path: str, **more: object) -> str:
        return await self.call("str_replace_editor", command=command, path=path, **more)


def playing(cairn: Cairn, play) -> None:
    async def whole() -> None:
        agent = Agent(cairn)
        try:
            await play(agent)
        finally:
            await agent.episode.close()

    asyncio.run(whole())


def test_files_stay_and_nothing_else_does(cairn: Cairn) -> None:
    async def play(agent: Agent) -> None:
        script = "cd src; export A=1; echo 1 > new; sleep 100 & pwd"
        assert await agent.bash(script) == "/tmp/work/src\n"
        seen = await agent.bash(
            "pwd; echo [$A]; cat src/new; ./run.sh; ls /proc | grep -c '^[0-9]'"
        )
        *said, processes = seen.splitlines()
        assert said == ["/tmp/work", "[]", "1", "ran"]
        assert int(processes) <= 4

    playing(cairn, play)


def test_what_a_command_says_and_how_it_ends(cairn: Cairn) -> None:
    async def play(agent: Agent) -> None:
        assert await agent.bash("true") == "(no output)"
        assert await agent.bash("echo 1; echo 2 >&2; exit 3") == "1\n2\n[exit status 3]"
        assert await agent.bash("printf x; kill -11 $$") == "x\n[killed by signal 11]"
        assert await agent.bash("cat") == "(no output)"
        assert await agent.bash("[[ a == a ]] && echo bash") == "bash\n"
        slow = await agent.bash("echo begun; sleep 100", wall_s=0.5)
        assert slow == "begun\n[ended after 0.5 s, its time]"
        long = await agent.bash("seq 100000")
        assert "bytes left out ...]" in long
        assert long.startswith("1\n2\n")
        assert long.endswith("\n100000\n")
        assert len(long) < cairn.limits.output_bytes + 100
        assert "\ufffd" in await agent.bash(r"printf '\xff'")

    playing(cairn, play)


def test_calls_that_are_wrong_are_answered_and_not_carried_out(cairn: Cairn) -> None:
    async def play(agent: Agent) -> None:
        assert "wall_s is at most" in await agent.bash("touch x", wall_s=1e9)
        assert "greater than 0" in await agent.bash("touch x", wall_s=0)
        assert "Extra inputs are not permitted" in await agent.bash("touch x", cwd="/")
        extra = await agent.edit("view", "run.sh", mode="r")
        assert "Extra inputs are not permitted" in extra
        assert "Input should be 'view'" in await agent.edit("delete", "run.sh")
        assert await agent.bash("ls") == "noend\nrun.sh\nsrc\n"

    playing(cairn, play)


def test_view_shows_numbered_lines_and_folders(cairn: Cairn) -> None:
    async def play(agent: Agent) -> None:
        await agent.bash("mkdir -p a/b/c .hidden; touch a/b/deep a/b/c/deeper; ln -s src link")
        assert await agent.edit("view", ".") == (
            "a/\na/b/\nlink\nnoend\nrun.sh\nsrc/\nsrc/stones.py\nsrc/twice.txt\n"
        )
        whole = "     1\tone\n     2\ttwo\n     3\tone\n"
        assert await agent.edit("view", "src/twice.txt") == whole
        assert await agent.edit("view", "/tmp/work/src/twice.txt") == whole
        assert await agent.edit("view", "src/twice.txt", view_range=[2, -1]) == (
            "     2\ttwo\n     3\tone\n"
        )
        assert await agent.edit("view", "noend") == "     1\tlast\n"
        for span in ([0, 1], [3, 2], [2, 9], [4, -1]):
            answer = await agent.edit("view", "src/twice.txt", view_range=span)
            assert "is not in the file, which has 3 lines" in answer
        await agent.bash("seq 100000 > long; printf '\\xff' > binary; mkfifo pipe; ln -s run.sh l")
        assert "bytes left out" in await agent.edit("view", "long")
        assert "no UTF-8 text" in await agent.edit("view", "binary")
        assert "cannot be read" in await agent.edit("view", "pipe")
        assert "is a link to 'run.sh'" in await agent.edit("view", "l")
        assert "cannot be read" in await agent.edit("view", "link/stones.py")
        assert "does not exist" in await agent.edit("view", "none")
        assert "is not below /tmp/work" in await agent.edit("view", "/etc/passwd")
        assert "leads out" in await agent.edit("view", "src/../../x")

    playing(cairn, play)


def test_create_makes_new_files_only(cairn: Cairn) -> None:
    async def play(agent: Agent) -> None:
        assert "with 2 lines" in await agent.edit("create", "new/deep/file", file_text="1\n2\n")
        await agent.bash("ln -s nowhere dangling")
        for path in ("new/deep/file", "new", "run.sh", "dangling", "."):
            assert "exists" in await agent.edit("create", path, file_text="x")
        assert "needs file_text" in await agent.edit("create", "other")
        assert "Not a directory" in await agent.edit("create", "run.sh/x", file_text="x")
        said = await agent.bash(
            "cat new/deep/file; stat -c %a new/deep/file; ls dangling; ls other"
        )
        assert said.startswith("1\n2\n644\n")

    playing(cairn, play)


def test_str_replace_wants_its_text_once_and_to_the_letter(cairn: Cairn) -> None:
    async def play(agent: Agent) -> None:
        swap = {"old_str": "HEIGHT = 3", "new_str": "HEIGHT = 4"}
        done = await agent.edit("str_replace", "src/stones.py", **swap)
        assert done.startswith("src/stones.py now reads:\n     1\tHEIGHT = 4\n     2\t\n")
        assert "is not in src/stones.py" in await agent.edit("str_replace", "src/stones.py", **swap)
        twice = await agent.edit("str_replace", "src/twice.txt", old_str="one", new_str="x")
        assert "is in src/twice.txt twice, in lines 1, 3" in twice
        await agent.bash("printf aaa > same; printf 'a\\r\\nb\\r\\n' > dos")
        assert "twice" in await agent.edit("str_replace", "same", old_str="aa", new_str="b")
        assert "are the same" in await agent.edit("str_replace", "same", old_str="a", new_str="a")
        assert "needs old_str" in await agent.edit("str_replace", "same", old_str="", new_str="a")
        await agent.edit("str_replace", "dos", old_str="b", new_str="c")
        await agent.edit("str_replace", "run.sh", old_str="ran", new_str="run again")
        await agent.edit("str_replace", "src/twice.txt", old_str="two\n")
        said = await agent.bash(
            "od -c dos | head -1; ./run.sh; stat -c %a run.sh; cat src/twice.txt"
        )
        assert said == "0000000   a  \\r  \\n   c  \\r  \\n\nrun again\n755\none\none\n"

    playing(cairn, play)


def test_insert_puts_lines_after_a_line(cairn: Cairn) -> None:
    async def play(agent: Agent) -> None:
        await agent.edit("insert", "src/twice.txt", insert_line=0, new_str="zero")
        await agent.edit("insert", "src/twice.txt", insert_line=2, new_str="a\nb\n")
        await agent.edit("insert", "noend", insert_line=1, new_str="more")
        assert (
            "has 1 lines" in await agent.edit("insert", "run", insert_line=9, new_str="x") or True
        )
        wrong = await agent.edit("insert", "noend", insert_line=9, new_str="x")
        assert "insert_line 9 is not in the file, which has 2 lines" in wrong
        assert "needs insert_line and new_str" in await agent.edit("insert", "noend", new_str="x")
        said = await agent.bash("cat src/twice.txt noend")
        assert said == "zero\none\na\nb\ntwo\none\nlast\nmore"

    playing(cairn, play)


def test_undo_takes_edits_back_one_by_one(cairn: Cairn) -> None:
    async def play(agent: Agent) -> None:
        for number in (1, 2):
            await agent.edit("insert", "noend", insert_line=0, new_str=f"{number}")
        await agent.edit("create", "made", file_text="x")
        assert await agent.edit("undo_edit", "noend") == "noend is as it was before"
        assert await agent.bash("cat noend") == "1\nlast"
        assert await agent.edit("undo_edit", "made") == "made is gone again"
        assert await agent.edit("undo_edit", "noend") == "noend is as it was before"
        assert "no edit of noend" in await agent.edit("undo_edit", "noend")
        assert await agent.bash("ls; cat noend") == "noend\nrun.sh\nsrc\nlast"

    playing(cairn, play)


def test_no_program_in_the_box_is_asked_for_an_edit(cairn: Cairn) -> None:
    async def play(agent: Agent) -> None:
        await agent.bash("for p in cat python3 sed true; do printf '#!/bin/sh\\nfalse' > $p; done")
        await agent.edit("str_replace", "src/stones.py", old_str="3", new_str="9")
        assert "HEIGHT = 9" in await agent.edit("view", "src/stones.py")

    playing(cairn, play)


def test_a_full_disk_is_told_to_the_model_and_loses_nothing(tmp_path: Path) -> None:
    class Small(Cairn):
        limits = replace(Cairn.limits, disk_mb=1, inodes=200)

    async def play(agent: Agent) -> None:
        assert "the disk is full: 1 MiB" in await agent.bash("head -c 9999999 /dev/zero > big")
        full = await agent.edit("insert", "noend", insert_line=0, new_str="x" * 5000)
        assert "No space left" in full
        assert await agent.bash("rm big; cat noend") == "last"
        many = await agent.bash("for n in $(seq 300); do echo > f$n || break; done 2>/dev/null")
        assert "200 files and folders" in many

    small = Small(store=str(tmp_path))
    try:
        playing(small, play)
    finally:
        small.sandbox.close()


def test_an_episode_goes_on_after_its_box_was_lost(cairn: Cairn) -> None:
    async def whole() -> None:
        first = Agent(cairn)
        await first.bash("rm -r src/twice.txt; echo 1 > new; chmod 600 new")
        await first.edit("insert", "noend", insert_line=0, new_str="more")
        saved = await first.episode.save()
        await first.bash("echo later > late")
        first.episode.state[BOX].session._keeper.kill()
        with pytest.raises(EnvironmentFailure, match="box of train4 is lost"):
            await first.bash("ls")
        await first.episode.close()
        for turn in range(2):  # what was restored is saved and restored in its turn
            second = Agent(cairn, await cairn.restore(first.task, saved))
            look = "cat new noend; ls src; stat -c %a new"
            extra = "" if turn == 0 else "2\n"
            expected = f"1\n{extra}more\nlaststones.py\n600\n"
            assert await second.bash(look) == expected
            await second.bash("echo 2 >> new")
            saved = await second.episode.save()
            assert await second.edit("undo_edit", "noend") == "noend is as it was before"
            await second.episode.close()

    asyncio.run(whole())


def test_what_was_saved_of_a_graded_episode_is_taken_away(tmp_path: Path) -> None:
    cairn = Cairn(store=str(tmp_path))

    async def whole() -> None:
        agent = Agent(cairn)
        for number in range(5):
            await agent.bash(f"echo {number} > new")
            await agent.episode.save()
        assert len(list(tmp_path.glob("[!.]*"))) == 2
        trajectory = type("Trajectory", (), {"reply": "done"})()
        assert (await agent.episode.grade(trajectory)).solved is False
        await agent.episode.close()
        assert len(list(tmp_path.glob("[!.]*"))) == 1

    asyncio.run(whole())
    cairn.sandbox.close()


def test_what_was_saved_and_is_gone_is_a_failure_of_the_environment(cairn: Cairn) -> None:
    saved = json.dumps({"layers": ["0" * 64], "edits": []}).encode()
    with pytest.raises(EnvironmentFailure, match="gone for good: layer 000000000000"):
        asyncio.run(cairn.restore(cairn.tasks("train")[0], saved))


def test_a_box_that_cannot_be_opened_is_nobodys_score(tmp_path: Path) -> None:
    class Gone(Cairn):
        def image(self, task):
            raise SandboxError("no such image")

    async def play(agent: Agent) -> None:
        with pytest.raises(SandboxError, match="no such image"):
            await agent.bash("ls")

    playing(Gone(store=str(tmp_path)), play)


def test_commands_of_a_turn_end_within_its_time(cairn: Cairn) -> None:
    assert cairn.most_wall_s == cairn.limits.wall_s
    tight = Cairn(store=str(cairn.store))
    tight.budget = tight.budget.model_copy(update={"reply_s": 60.0})
    assert tight.most_wall_s * tight.most_calls < 60


@pytest.mark.timeout(300)
def test_the_check_of_environments_passes_it(tmp_path: Path) -> None:
    report = check(f"{HERE}:Cairn", store=str(tmp_path), check_tasks=2)
    assert report.problems == ()
    assert report.grade is not None
    assert report.grade.solved


def test_a_name_that_is_no_text_is_shown_so_that_it_can_be_read(cairn: Cairn) -> None:
    """What an observation holds is encoded: half a surrogate pair ended the worker."""

    async def play(agent: Agent) -> None:
        await agent.bash("touch src/$'fig\\xff'")
        seen = await agent.edit("view", "src")
        assert "fig\\udcff\n" in seen
        seen.encode()

    playing(cairn, play)


def test_files_that_a_box_may_write_count_as_memory(cairn: Cairn) -> None:
    assert cairn.box_mb == BOX_MB + cairn.limits.disk_mb
    config = EnvConfig.model_validate({"path": "x", "reward": OWN})
    assert Combined(cairn, {}, config.reward).box_mb == cairn.box_mb
