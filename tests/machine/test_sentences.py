"""Failures that are told in one line: by name, so that telling one imports nothing heavy."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from munro.machine.loading import BadConfig
from munro.machine.sentences import SENTENCES, in_one_line, is_sentence
from munro.rewards.errors import SandboxError


@pytest.mark.parametrize("name", sorted(SENTENCES))
def test_every_name_is_an_exception_defined_there(name):
    module, _, attribute = name.rpartition(".")
    kind = getattr(importlib.import_module(module), attribute)
    assert issubclass(kind, Exception)
    assert f"{kind.__module__}.{kind.__qualname__}" == name


def test_a_subclass_is_a_sentence_too_and_a_bug_is_not():
    assert is_sentence(BadConfig("no"))
    assert is_sentence(SandboxError("no"))
    assert not is_sentence(KeyError("no"))


def test_a_reason_with_line_breaks_is_one_line():
    assert in_one_line(SandboxError("it says:\n  no\r\n\tat all\u2028")) == "it says: no at all"
    assert in_one_line(KeyboardInterrupt()) == "KeyboardInterrupt"


def test_the_command_prints_it_on_one_line(tmp_path):
    odd = tmp_path / "two\nlines"
    call = [sys.executable, "-c", "from munro.machine.cli.main import main; main()"]
    done = subprocess.run([*call, "status", str(odd)], capture_output=True, text=True)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_a_mistake_is_told_without_importing_torch_or_ray(tmp_path):
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
