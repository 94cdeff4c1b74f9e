"""Every documented command and Python sample runs as printed, in a folder like a reader's.

The folder holds what a checkout does and what the page itself shows. What takes minutes is run with
`--dry-run` here and as printed under `slow`; what speaks of a reader's own runs and checkpoints is
only parsed (`test_docs`).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.command_line import find, name_of
from tests.documented import PAGES, ROOT, Command, blocks, commands, make_files

QUICK = {
    *("env list", "env check", "config", "gain", "grade", "tokenizer train", "lengths"),
    *("init", "doctor", "status", "report", "goodput", "sides make"),
}
"""Commands that a test has the time for; of others, those that are asked for a dry run or help."""
OWN = re.compile(
    r"(^|/)(runs|evals|machines|checkpoints|data|mine|my_\w+|ckpt|BASE|tasks|histories|src)\b|\w\.jsonl$|^(Qwen|HuggingFaceTB|me)/[\w.-]+$"
)
"""What a reader has, and a checkout has not; models of the hub among it."""
LARGE = {
    f"configs/{name}.toml"
    for name in ("machine", "ladder", "mix", "pretrain", "stem", "agentic", "data")
}
"""Recipes at the report's sizes, or that read all of a machine's files."""
BEFORE = {"configs/books_tiny.toml": ("questions", "build", "configs/questions_tiny.toml")}
"""What must be run first, a second or two, for what the recipe reads."""
CHECKOUT = ("README.md", "CONTRIBUTING.md", "Makefile", "benchmarks", "configs", "docs", "examples")


def inputs(command: Command) -> list[str]:
    """Words that name a file or folder which must be there before."""
    words, found = list(command.words[1:]), []
    while words:
        word = words.pop(0)
        if word in ("--out", "--page", "--name", "--weights", "--address", "--folder", "--sweep"):
            words = words[1:]
        elif word in ("--model", "--onto", "--config"):
            found.append(words.pop(0))
        elif not word.startswith("-") and ("/" in word or re.search(r"\.\w{2,5}(:|$)", word)):
            found.append(word.partition(":")[0])
    return found


def is_quick(command: Command) -> bool:
    words = command.words[1:]
    if "--probe" in words:  # which climbs for a minute
        return False
    return name_of(words) in QUICK or not {"--dry-run", "--help"}.isdisjoint(words)


def can_be_tried(command: Command) -> bool:
    """Whether the command itself offers to look and not to run."""
    leaf, _ = find(command.words[1:])
    return "--probe" not in command.words and any(
        parameter.name == "dry_run" for parameter in leaf.params
    )


def run(command: Command, folder: Path, *more: str, limit_s: float = 280) -> str:
    """What a command says, run as a shell would find it; it must succeed."""
    beside = Path(sys.executable).parent
    done = subprocess.run(
        [beside / "munro", *command.words[1:], *more],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=limit_s,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def reader(folder: Path, page: Path) -> Path:
    """A folder with what a checkout holds and the page shows."""
    for name in CHECKOUT:
        (folder / name).symlink_to(ROOT / name)
    make_files(page, folder)
    return folder


def missing(command: Command, folder: Path) -> list[str]:
    return [name for name in inputs(command) if not (folder / name).exists()]


DONE: set[tuple[str, ...]] = set()
OURS = [one for page in PAGES for one in commands(page) if one.words[0] == "munro"]


def test_there_is_something_to_run() -> None:
    assert sum(map(is_quick, OURS)) >= 5


def ready(command: Command, root: Path) -> Path:
    """The folder to type a command in, after what its block says to type before a `cd` there."""
    reader(root, command.page)
    for recipe in BEFORE.keys() & set(command.words):
        run(replace(command, words=("munro", *BEFORE[recipe])), root)
    if command.folder:
        for one in OURS:
            is_before = (one.page, one.block) == (command.page, command.block)
            if is_before and one.line < command.line and is_quick(one):
                run(one, root / one.folder)
    return root / command.folder


@pytest.mark.parametrize("command", OURS, ids=str)
def test_a_command_runs_as_printed(command: Command, tmp_path: Path) -> None:
    folder = ready(command, tmp_path)
    if absent := missing(command, folder):
        # it cannot run: then it must be plain that only a reader has what it speaks of
        theirs = [name for name in absent if OWN.search(name)]
        assert theirs == absent, f"{command}: neither the checkout nor the page has {absent}"
        assert not {name for name in theirs if name.endswith(".jsonl") and is_quick(command)}, (
            f"{command}: show a few lines of {theirs} in a fence ```json {theirs[0]}"
        )
    elif is_quick(command) or can_be_tried(command):
        more = () if is_quick(command) else ("--dry-run",)
        once = (*command.words, *more, command.folder)
        if once not in DONE:  # pages repeat each other
            assert run(command, folder, *more)
        DONE.add(once)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.vllm
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("page", sorted({one.page for one in OURS}), ids=str)
def test_a_page_runs_from_top_to_bottom(page: Path, tmp_path: Path) -> None:
    """What earlier commands left is there for later ones; what is for a cluster is left out."""
    folder = reader(tmp_path, page)
    for command in commands(page):
        is_large = any(name in LARGE for name in inputs(command))
        here = folder / command.folder
        if command.words[0] == "munro" and not missing(command, here) and not is_large:
            run(command, here, limit_s=3600)


SAMPLED = [page for page in PAGES if any(one.language == "python" for one in blocks(page))]
CLIMBING = Path("docs/climbing.md")
"""Its samples climb, as tests/machine/test_notebook.py does before a change lands."""

RUN = """
import ast, asyncio, inspect, sys
from pathlib import Path

def ended(done):
    return asyncio.run(done) if inspect.iscoroutine(done) else done

def told(line):
    # the value that a comment claims, where it is one that Python can read
    try:
        return [ast.literal_eval(line.rpartition("  # ")[2])]
    except (SyntaxError, ValueError):
        return []

names = {"__name__": "sample"}
for file in sys.argv[1:]:
    source = Path(file).read_text()
    for one in ast.parse(source).body:
        claimed = told(source.split("\\n")[one.end_lineno - 1])
        mode, tree = "exec", ast.Module([one], [])
        if isinstance(one, ast.Expr):
            mode, tree = "eval", ast.Expression(one.value)
        code = compile(tree, file, mode, flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        value = ended(eval(code, names))
        if isinstance(one, ast.Expr) and claimed:
            assert [value] == claimed, f"{file}, line {one.lineno}: {value!r}, not {claimed[0]!r}"
"""


def imports_of(source: str) -> str:
    """The imports of a sample, and nothing else of it."""
    return "\n".join(re.findall(r"^(?:from \S+ )?import .*$", source, re.MULTILINE))


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=[pytest.mark.slow] * (page == CLIMBING)) for page in SAMPLED],
    ids=str,
)
def test_the_python_samples_of_a_page_run_one_after_another(page: Path, tmp_path: Path) -> None:
    """And come to the values that comments behind them claim."""
    folder = reader(tmp_path, page)
    files = []
    for block in blocks(page):
        if block.language == "python":
            file = folder / f"line_{block.line}.py"
            sketch = block.note == "sketch"
            compile(block.text, str(file), "exec", flags=0x2000, dont_inherit=True)
            file.write_text(imports_of(block.text) if sketch else block.text)
            files.append(str(file))
    done = run_samples(folder, files)
    assert done.returncode == 0, done.stderr[-3000:]


def run_samples(folder: Path, files: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", RUN, *files],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("claim", "holds"), [("2", True), ("3", False), ("two", True)])
def test_a_value_that_a_comment_claims_is_compared(claim: str, holds: bool, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(f"one = 1\none + 1        # {claim}\n")
    assert (run_samples(tmp_path, ["a.py"]).returncode == 0) is holds
