"""Failures that are told in one line: their classes say so, and telling one stays light."""

from __future__ import annotations

import ast
import builtins
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from munro.machine.loading import BadConfig
from munro.machine.sentences import in_one_line, is_sentence
from munro.rewards.errors import SandboxError
from munro.rewards.plugins import ROOMS

ROOT = Path(__file__).parents[2]


def promised() -> list[tuple[str, str]]:
    """(module, class) of every exception of ours whose docstring promises a sentence."""
    return [
        (".".join(("munro", *file.relative_to(ROOT).with_suffix("").parts)), node.name)
        for room in ROOMS
        for file in sorted((ROOT / room).rglob("*.py"))
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.ClassDef)
        and any(map(_is_exception, node.bases))
        and "sentence" in (ast.get_docstring(node) or "")
    ]


def _is_exception(base: ast.expr) -> bool:
    kind = getattr(builtins, base.id, None) if isinstance(base, ast.Name) else None
    return isinstance(kind, type) and issubclass(kind, Exception)


@pytest.mark.parametrize(("module", "name"), promised())
def test_a_class_that_promises_a_sentence_is_told_as_one(module: str, name: str) -> None:
    kind = getattr(importlib.import_module(module), name)
    assert is_sentence(kind.__new__(kind))


def test_the_search_finds_them() -> None:
    assert {"CheckpointError", "BadEnvironment", "CannotDistill"} <= {n for _, n in promised()}


def test_a_subclass_is_a_sentence_too_and_a_bug_is_not() -> None:
    assert is_sentence(BadConfig("no"))
    assert is_sentence(SandboxError("no"))
    assert not is_sentence(KeyError("no"))


def test_a_plug_ins_own_failure_is_one_where_its_class_says_so() -> None:
    class NoSuchBucket(Exception):
        is_sentence = True

    class Bug(Exception):
        is_sentence = False

    assert is_sentence(NoSuchBucket("the bucket 'x' is gone"))
    assert not is_sentence(Bug("x"))


def test_a_reason_with_line_breaks_is_one_line():
    assert in_one_line(SandboxError("it says:\n  no\r\n\tat all\u2028")) == "it says: no at all"
    assert in_one_line(KeyboardInterrupt()) == "KeyboardInterrupt"


def test_the_command_prints_it_on_one_line(tmp_path):
    odd = tmp_path / "two\nlines"
    call = [sys.executable, "-c", "from munro.machine.cli.main import main; main()"]
    done = subprocess.run([*call, "status", str(odd)], capture_output=True, text=True)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_a_mistake_is_told_without_importing_torch_or_ray(tmp_path: Path) -> None:
    program = (
        "import sys; from munro.machine.cli.main import main\n"
        "try:\n    main()\n"
        "finally:\n    print(sorted({'torch', 'ray', 'transformers'} & {*sys.modules}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "status", str(tmp_path)], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "[]\n")
    assert done.stderr.startswith("munro: There is no run at")
