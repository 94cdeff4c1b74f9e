"""`munro doctor`: one screen, every missing piece with its cost, wherever it runs."""

from __future__ import annotations

import builtins
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from munro.machine.cli.main import munro
from munro.machine.doctor import compute, libraries, places, report, sandboxes
from munro.machine.doctor.types import Finding
from munro.rewards.errors import SandboxError

SCREEN = (100, 40)  # columns, lines


def named(found: list[Finding], name: str) -> Finding:
    return next(one for one in found if one.name == name)


def test_it_is_one_screen_and_names_every_piece() -> None:
    found = report.findings()
    lines = report.table(found).splitlines()
    assert len(lines) <= SCREEN[1]
    assert {one.name for one in found} >= {
        *("munro", "Python", "machine", "torch", "vLLM", "Ray", "Triton"),
        *("sandbox", "shared memory", "TMPDIR", "cache"),
    }
    assert any(one.name.startswith("GPU") for one in found)
    assert "CPU capability" in named(found, "torch").found
    for one in found:
        assert (one.cost == "") is (one.level == "ok"), one


def test_costs_are_folded_to_the_screen() -> None:
    one = Finding(name="x", found="y", level="missing", cost="word " * 100)
    assert max(map(len, report.table([one]).splitlines())) <= SCREEN[0]


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither torch nor vLLM nor Ray nor anything else of weight is installed."""
    real_import = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "torch":
            raise ImportError("No module named 'torch'")
        return real_import(name, *rest)

    def gone(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setattr(metadata, "version", gone)


@pytest.mark.usefixtures("bare")
def test_it_answers_where_nothing_is_installed() -> None:
    found = [*compute.check(), *libraries.check()]
    levels = {one.name: one.level for one in found}
    assert levels == {
        "torch": "broken",
        "vLLM": "missing",
        "Ray": "broken",
        "Triton": "missing",
    }
    assert "No module named 'torch'" in named(found, "torch").found
    assert "munro[cpu]" in named(found, "vLLM").cost
    assert report.table(found).endswith("in the way of a climb: torch, Ray")


def test_what_is_broken_is_its_exit_status(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Finding(name="Ray", found="not installed", level="broken", cost="no climb")
    for found, status in (([broken], 1), ([Finding(name="Ray", found="1")], 0)):
        monkeypatch.setattr(report, "findings", lambda found=found: found)
        assert CliRunner().invoke(munro, ["doctor"]).exit_code == status


def test_an_engine_that_was_built_for_another_torch_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    has = {"vllm": "0.33.0", "torch": "2.13.0+cpu"}
    monkeypatch.setattr(libraries, "version_of", lambda name: has.get(name, ""))
    monkeypatch.setattr(metadata, "requires", lambda _: ["numpy", "torch==2.14.0 ; x == 'y'"])
    vllm = named(list(libraries.check()), "vLLM")
    assert (vllm.level, vllm.found) == (
        "broken",
        "0.33.0 (vllm), built for torch 2.14.0, not 2.13.0",
    )
    has["torch"] = "2.14.0+cu130"
    assert named(list(libraries.check()), "vLLM").level == "ok"


def test_a_build_for_cuda_beside_a_cpu_torch_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(compute, "version_of", lambda name: {"torchvision": "0.28.0"}.get(name, ""))
    told = [one for one in compute.check() if one.level == "broken"]
    assert [one.cost for one in told] == [
        "imports fail (torchvision::nms): pip uninstall -y torchvision"
    ]


def test_why_a_sandbox_will_not_open_is_its_own_word(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> Any:
        raise SandboxError(f"{name}: set the knob")

    monkeypatch.setattr(sandboxes.sandbox, "open", refuse)
    costs = [one.cost for one in sandboxes.check()]
    assert costs == [
        f"no program is graded in it: {name}: set the knob" for name in ("namespaces", "docker")
    ]


def test_a_long_tmpdir_is_told_by_how_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    told = named(list(places.check()), "TMPDIR")
    assert told.level == "broken"
    assert "too long for Ray's sockets" in told.cost
    monkeypatch.setenv("TMPDIR", str(tmp_path / "nowhere"))
    assert "cannot be written" in named(list(places.check()), "TMPDIR").found
    monkeypatch.setenv("TMPDIR", "/tmp")
    assert named(list(places.check()), "TMPDIR").level == "ok"


def test_a_small_shared_memory_and_an_empty_cache_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "LEAST_SHARED", 1 << 60)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = list(places.check())
    assert "--shm-size" in named(found, "shared memory").cost
    assert "0 embedded bases" in named(found, "cache").found
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(places, "SHARED_MEMORY", tmp_path / "nowhere")
    assert "cannot be written" in named(list(places.check()), "shared memory").found


def test_the_command_itself_loads_nothing_of_weight() -> None:
    code = (
        "import sys, munro.machine.doctor.report; "
        "print({'torch', 'ray', 'vllm', 'transformers'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
