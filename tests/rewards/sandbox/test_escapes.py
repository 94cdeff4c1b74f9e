"""Nothing that hostile programs try on a sandbox succeeds, and the machine outside stays as it was.

The table is `escapes*`; `weak` proves of it, attempt by attempt, that it bites.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from munro.rewards import sandbox
from munro.rewards.errors import SandboxError
from munro.rewards.sandbox import namespaces
from tests.rewards.sandbox.engine import engine, make_image, why_no_engine
from tests.rewards.sandbox.escapes import Attempt
from tests.rewards.sandbox.hosts import fingerprint, host
from tests.rewards.sandbox.sweep import ATTEMPTS, evidence, sweep
from tests.rewards.sandbox.weak import NaiveBox, WarmBox

NOBODY = 65534
SYSTEM_PYTHON = "/usr/bin/python3"

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the attempts name system calls by x86_64's numbers"
)


def attack(backend: str, *, cold: bool = False, **options: Any) -> dict[str, Any]:
    """What got out, and what of the machine is not as it was."""
    with host() as outside:
        before = fingerprint(outside)
        with sandbox.open(backend, **options) as box:
            assert box.run_python("print(6 * 7)").stdout == b"42\n"
            found: dict[str, Any] = dict(sweep(ATTEMPTS, box, outside, cold=cold))
            assert box.run_python("print(6 * 7)").stdout == b"42\n", "it no longer works"
        after = fingerprint(outside)
    changed = {name: (before[name], after[name]) for name in before if before[name] != after[name]}
    return {**found, **({"the machine changed": changed} if changed else {})}


def attack_as_nobody(**options: Any) -> dict[str, Any]:
    """The same, in a child that is an ordinary user (and cannot come back)."""
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        said: dict[str, Any] = {"the attack": "did not come to its end"}
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            # the tests' own interpreter may lie where only root can go: what it is to import,
            # it has imported
            assert namespaces.open_sandbox
            sys.executable = SYSTEM_PYTHON
            said = attack("namespaces", python=SYSTEM_PYTHON, **options)
        except (SandboxError, AssertionError, OSError) as failure:
            said = {"the attack": repr(failure)}
        finally:
            with open(theirs, "w") as pipe:
                json.dump(said, pipe, default=repr)
            os._exit(0)
    os.close(theirs)
    with open(ours) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    answer: dict[str, Any] = json.loads(text)
    return answer


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that any user may write to, with a path that any user may walk."""
    path = Path(tempfile.mkdtemp(prefix="munro-weak-"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path, ignore_errors=True)


def test_the_table_is_long_and_every_attempt_has_a_name_of_its_own() -> None:
    assert len(ATTEMPTS) >= 60
    assert len({attempt.name for attempt in ATTEMPTS}) == len(ATTEMPTS)


def test_no_attempt_gets_out_of_the_warm_interpreter() -> None:
    assert attack("namespaces") == {}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_no_attempt_gets_out_of_a_command() -> None:
    assert attack("namespaces", cold=True) == {}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_no_attempt_gets_out_where_no_control_group_helps() -> None:
    assert attack("namespaces", control_groups=False) == {}


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_no_attempt_gets_out_of_the_sandbox_of_an_ordinary_user() -> None:
    assert attack_as_nobody() == {}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(bool(why_no_engine()), reason=why_no_engine() or "there is one")
def test_no_attempt_gets_out_of_a_container(tmp_path: Path) -> None:
    with engine(tmp_path) as address:
        assert attack("docker", image=make_image(address), host=address) == {}


def _bites(attempt: Attempt) -> bool:
    return bool(attempt.bites) and (attempt.bites == "anyone" or os.geteuid() == 0)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("attempt", [*filter(_bites, ATTEMPTS)], ids=lambda attempt: attempt.name)
def test_without_a_sandbox_it_succeeds(attempt: Attempt, folder: Path) -> None:
    with host() as outside:
        if attempt.bites == "warm":
            box: NaiveBox = WarmBox(folder)
        else:
            user = NOBODY if attempt.bites == "nobody" else None
            box = NaiveBox(folder, user, 1 if attempt.breaks else 60)
        with box:
            found = evidence(attempt, box, outside)
    assert found, "it would not have succeeded anywhere: the table says nothing by it"
    assert attempt.breaks or "the sandbox broke" not in found
