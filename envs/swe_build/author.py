"""A judge that sets up what a repository's tests need, in Munro's own shell, until they run.

    author = written_setup(judge, suite, packages, folder=out / AUTHOR)

It works turn by turn, as any agent: bash and str_replace_editor in a box that holds the repository
and no network, `need`, which has wheels put beside it from outside, and `run_suite`. What is kept
of it is data: names of packages, and new files that are neither tests nor settings of tests. They
go into every base of the build, where the base has no such file. Every turn is in the transcript.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import InvalidRequirement, Requirement
from pydantic import Field, model_validator

from munro.envs.shell import BOX, Box, Shell, held
from munro.envs.swe.run import Ran, run_tests
from munro.envs.swe_build.errors import BadRepository, Dropped
from munro.envs.swe_build.packages.requirements import Needs
from munro.envs.swe_build.related import test_files
from munro.envs.swe_build.split import Side, side
from munro.envs.tool_use import ToolError, tool
from munro.envs.types import Message, Task, ToolCall
from munro.rewards.errors import GraderError
from munro.rewards.judge.access import Access
from munro.rewards.judge.config import JudgeConfig
from munro.rewards.judge.fence import clip
from munro.rewards.judge.prompts import Prompt
from munro.rewards.judge.verdicts import Verdict
from munro.rewards.sandbox import Image, Kind, Layer

AUTHOR = "author"
"""Folder beside the tasks with the transcript and what came of it."""
TRANSCRIPT, SETUP = "transcript.jsonl", "setup.json"
MOST_TURNS = 40
MOST_FILES, MOST_BYTES = 20, 1 << 16
MOST_SHOWN = 24_000
"""Characters of the turns before that a judge reads."""
MOST_ANSWER = 4_000
WHAT = (
    "You set up a Python repository so that its tests run under pytest. You have a box with the "
    "repository in the working directory and no network. Each turn you call one tool: bash (a "
    "command), str_replace_editor to create a file (path, text), need (all requirements, as pip "
    "writes them, names and bounds only: they are installed as wheels from outside), or run_suite. "
    "What is kept: the requirements that you named last, and new files that are no tests. The "
    "repository's own files stay as they are. You are done when run_suite says that the suite runs."
)
Layers = Callable[[Needs, int], tuple[Layer, str]]


class TurnVerdict(Verdict):
    """One turn of an author."""

    shape = (
        '{"notes": "what you do and why, shortly", "tool": "bash", "str_replace_editor", "need" or '
        '"run_suite", "command": "for bash", "path": "of a new file", "text": "of a new file", '
        '"requirements": ["for need"]}'
    )
    tool: Literal["bash", "str_replace_editor", "need", "run_suite"]
    command: str = Field("", max_length=8000)
    path: str = Field("", max_length=300)
    text: str = Field("", max_length=MOST_BYTES)
    requirements: list[str] = Field(default_factory=list, max_length=60)

    @model_validator(mode="after")
    def _says_what(self) -> TurnVerdict:
        if self.tool == "bash" and not self.command:
            raise ValueError("bash needs a command")
        if self.tool == "str_replace_editor" and not self.path:
            raise ValueError("str_replace_editor needs a path")
        return self

    @property
    def arguments(self) -> dict[str, Any]:
        """Of the call."""
        match self.tool:
            case "bash":
                return {"command": self.command}
            case "str_replace_editor":
                return {"command": "create", "path": self.path, "file_text": self.text}
            case "need":
                return {"requirements": self.requirements}
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What an author found that the tests need.

    Example:
        Setup(requirements=("attrs", "pytest"), files={"src/towers/_version.py": b"version = '1'"})
    """

    requirements: tuple[str, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    turns: int = 0

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        files = {path: contents.decode() for path, contents in sorted(self.files.items())}
        return {"requirements": list(self.requirements), "files": files, "turns": self.turns}


def setup_in(folder: Path) -> Setup | None:
    """What was written there before; None for nothing."""
    try:
        told = json.loads((folder / SETUP).read_text())
    except FileNotFoundError:
        return None
    files = {path: text.encode() for path, text in told["files"].items()}
    return Setup(requirements=tuple(told["requirements"]), files=files, turns=told["turns"])


class Workshop(Shell):
    """The author's box: the repository, its packages so far, and two tools beside the shell's."""

    def __init__(
        self,
        tree: Mapping[str, bytes],
        base: Layer,
        needs: Needs,
        seconds: int,
        layers: Layers,
        *,
        store: Path,
        test_s: float,
        wall_s: float,
    ) -> None:
        super().__init__(store=str(store))
        self._tree, self._base, self._seconds, self._layers = tree, base, seconds, layers
        self._needs = needs
        self._tests = sorted(test_files(tree))
        self._test_s, self._wall_s = test_s, wall_s
        self.runs = False
        """Whether the suite ran, when it was last tried."""

    @property
    def requirements(self) -> tuple[str, ...]:
        """Those that were had last."""
        return self._needs.requirements

    def tasks(self, split: str) -> Sequence[Task]:  # noqa: ARG002
        return [Task(id="setup", prompt=WHAT)]

    def image(self, task: Task) -> Image:  # noqa: ARG002
        """The base, and the packages that were had last."""
        try:
            packages, _ = self._layers(self._needs, self._seconds)
        except Dropped:  # what the repository itself says cannot be had: the author says better
            bare = Needs(
                distribution=self._needs.distribution,
                requirements=("pytest",),
                python_path=self._needs.python_path,
            )
            packages, _ = self._layers(bare, self._seconds)
        return Image(layers=(self._base,), packages=(packages,))

    def grade(self, task: Task, reply: str, state: dict[str, Any]) -> bool:  # noqa: ARG002
        return self.runs

    @tool(parallel=False)
    def need(self, state: dict[str, Any], requirements: list[str]) -> str:
        """Have these requirements, and no others, put beside the repository as wheels."""
        wanted = Needs(
            distribution=self._needs.distribution,
            requirements=tuple(sorted({"pytest", *map(_plain, requirements)})),
            python_path=self._needs.python_path,
        )
        try:
            self._layers(wanted, self._seconds)
        except Dropped as dropped:
            raise ToolError(f"{dropped.reason}: {dropped.detail}") from dropped
        self._needs = wanted
        box: Box = state[BOX]
        with held(box) as session:
            layer = session.freeze(box.salt) if session.changes(0) else None
        saved = box.saved if layer is None else (*box.saved, layer)
        box.stack.close()
        state[BOX] = self.open_box(Task(id="setup", prompt=""), saved)
        return f"installed: {', '.join(wanted.requirements)}"

    @tool(parallel=False)
    def run_suite(self, state: dict[str, Any]) -> str:
        """Run all tests of the repository, with what will be kept and nothing else."""
        kept, _ = self.kept(state)
        with self.sandbox.session(image=self.image(Task(id="setup", prompt=""))) as session:
            if kept:
                session.run(["true"], files=dict(kept))
            ran = run_tests(
                session,
                self._tests,
                test_s=self._test_s,
                wall_s=self._wall_s,
                imports=(".", *self._needs.python_path),
            )
        self.runs = ran.is_finished and bool(ran.passed) and not ran.broken
        return told(ran, runs=self.runs)

    def tried(self) -> str:
        """What the suite says of the repository as it is."""
        state = self.setup(Task(id="setup", prompt=""))
        try:
            return self.run_suite(state)
        finally:
            self.teardown(state)

    def kept(self, state: dict[str, Any]) -> tuple[dict[str, bytes], list[str]]:
        """New files that go into every base, and paths that were changed and do not."""
        from munro.envs.swe import changes_in

        box: Box = state[BOX]
        with held(box):
            changes = changes_in(box)
        found: dict[str, bytes] = {}
        left_out = []
        for change in changes:
            if change.kind is Kind.FOLDER or "__pycache__" in change.path:
                continue
            is_new = change.path not in self._tree and change.kind is Kind.FILE
            is_code = side(change.path) is not Side.TESTS and not change.path.startswith(".")
            if is_new and is_code and _is_text(change.contents) and len(found) < MOST_FILES:
                found[change.path] = change.contents or b""
            else:
                left_out.append(change.path)
        return found, left_out


def _is_text(contents: bytes | None) -> bool:
    if contents is None or len(contents) > MOST_BYTES:
        return False
    try:
        contents.decode()
    except UnicodeDecodeError:
        return False
    return True


def _plain(line: str) -> str:
    """A requirement by name and bounds."""
    try:
        one = Requirement(line.strip())
    except InvalidRequirement as failure:
        raise ToolError(f"{line!r:.80} is no requirement: {failure}".split("\n")[0]) from failure
    if one.url or line.strip().startswith("-"):
        raise ToolError(f"{line!r:.80} is an address: write a name, with bounds")
    extras = f"[{','.join(sorted(one.extras))}]" if one.extras else ""
    return f"{one.name}{extras}{one.specifier}"


def told(ran: Ran, *, runs: bool) -> str:
    """A run of the suite, for its author."""
    lines = ["the suite runs" if runs else "the suite does not run"]
    lines.append(f"{len(ran.passed)} of {len(ran.results)} tests passed")
    lines += [f"{path} cannot be collected: {why[-600:]}" for path, why in ran.broken.items()][:5]
    lines += [f"{test}: {why[-300:]}" for test, why in ran.messages.items()][:5]
    if not ran.is_finished and not ran.broken:
        lines.append(f"it did not end; it printed: {ran.log[-600:]}")
    return "\n".join(lines)


def written_setup(
    config: JudgeConfig, name: str, shop: Workshop, folder: Path, most_turns: int = MOST_TURNS
) -> Setup:
    """What a judge found that the tests need; with it in `folder`, the transcript.

    Raises:
        BadRepository: the suite does not run after so many turns, or the judge gave no answer.
        ValueError: its key or checkpoint is missing.
    """
    access = Access(config, name)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / TRANSCRIPT
    try:
        with path.open("w") as transcript:
            made = asyncio.run(_work(access, shop, transcript, most_turns))
    except GraderError as failure:
        raise BadRepository(f"judge:{name} gave no answer: {failure}; see {path}") from failure
    finally:
        access.close()
        shop.sandbox.close()
    if made is None:
        raise BadRepository(
            f"judge:{name} did not get the tests to run in {most_turns} turns; what it tried is in "
            f"{path}"
        )
    fresh = (folder / SETUP).with_suffix(".new")
    fresh.write_text(json.dumps(made.as_data(), indent=1, sort_keys=True) + "\n")
    fresh.rename(folder / SETUP)
    return made


async def _work(access: Access, shop: Workshop, transcript: Any, most_turns: int) -> Setup | None:
    (task,) = shop.tasks("train")
    first = shop.tried()
    if shop.runs:
        return Setup()
    episode = shop.start(task)
    said = [f"[before you came] run_suite\n{clip(first, MOST_ANSWER)}"]
    try:
        for number in range(most_turns):
            prompt = Prompt(
                task=WHAT,
                parts={"BEFORE": access.clean(clip("\n\n".join(said), MOST_SHOWN))},
                verdict=TurnVerdict,
            )
            (turn,) = await access.asked(prompt, 1)
            arguments = json.dumps(turn.arguments)
            call = ToolCall(id=f"turn{number}", name=turn.tool, arguments=arguments)
            made = Message(role="assistant", content=turn.notes, tool_calls=(call,))
            answers = await episode.reply(made) or []  # type: ignore[misc]
            answer = clip("\n".join(each.content for each in answers), MOST_ANSWER)
            row = {"turn": number, "notes": turn.notes, "tool": turn.tool}
            transcript.write(json.dumps({**row, "arguments": turn.arguments, "answer": answer}))
            transcript.write("\n")
            transcript.flush()
            said.append(f"[turn {number}] {turn.tool} {arguments}\n{answer}")
            if shop.runs:
                state = episode.state
                files, _ = shop.kept(state)
                return Setup(requirements=shop.requirements, files=files, turns=number + 1)
    finally:
        await episode.close()  # type: ignore[misc]
    return None
