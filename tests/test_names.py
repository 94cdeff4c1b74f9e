"""One name in a user's environment: nobody takes ours for theirs, nor theirs for ours."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import munro
from munro import kernels
from munro.rewards.plugins import ROOMS, BadPlugin, import_file

ROOT = Path(__file__).parents[1]
GUARDED = sorted(set(ROOMS) - {"kernels"})  # transformers probes for a package of that name


def python(code: str, cwd: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run a line of Python from a folder, with this checkout's munro and no other path."""
    return subprocess.run(
        [sys.executable, *flags, "-c", code],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_transformers_does_not_take_our_kernels_for_the_package_on_pypi() -> None:
    from transformers.utils import is_kernels_available

    assert is_kernels_available() is False


def test_our_version_stays_below_the_one_that_transformers_looks_for() -> None:
    assert kernels.__version__ == "0.0.0"
    assert tuple(map(int, munro.__version__.split(".")[:2])) < (0, 10)


def test_imports_of_our_rooms_reach_this_checkout() -> None:
    assert Path(kernels.__file__).parent == ROOT / "kernels"


def test_every_room_is_a_link_for_the_tools_that_only_read() -> None:
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    assert rooms == set(ROOMS)
    links = {path for path in (ROOT / "src" / "munro").iterdir() if path.is_symlink()}
    assert {path.name for path in links} == rooms
    for path in links:
        assert path.readlink() == Path("..", "..", path.name)
        assert path.resolve() == ROOT / path.name


def test_no_bare_name_of_a_room_leads_into_the_checkout(tmp_path: Path) -> None:
    code = (
        "import munro.rewards, munro.envs; from importlib.util import find_spec; "
        f"print([n for n in {ROOMS} if (s := find_spec(n)) and {str(ROOT)!r} in str(s.origin)])"
    )
    done = python(code, tmp_path, "-P")
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


def test_a_folder_with_packages_of_the_same_names_has_both(tmp_path: Path) -> None:
    for name in ROOMS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("mine = True\n")
    theirs, ours = ", ".join(ROOMS), ", ".join(f"{name} as our_{name}" for name in ROOMS)
    code = (
        f"import {theirs}; from munro.envs import Task; from munro import {ours}; "
        f"print([n.mine for n in ({theirs})], our_envs.Task is Task, hasattr(our_rl, 'mine'))"
    )
    done = python(code, tmp_path)
    assert (done.stdout, done.stderr) == (f"{[True] * len(ROOMS)} True False\n", "")


@pytest.mark.parametrize("room", GUARDED)
def test_an_older_import_from_the_root_of_the_checkout_says_the_new_one(room: str) -> None:
    done = python(f"import {room}", ROOT)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last == f"ImportError: Munro's {room!r} is imported as munro.{room}"


@pytest.mark.parametrize("line", ["from envs import Task", "from rewards.types import Grade"])
@pytest.mark.parametrize("reachable", [True, False])
def test_an_older_file_of_a_users_is_told_the_new_import_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, reachable: bool
) -> None:
    file = tmp_path / "old.py"
    file.write_text(f"\n{line}\n")
    room = line.split()[1].split(".")[0]
    if reachable:
        monkeypatch.syspath_prepend(str(ROOT))
    else:
        monkeypatch.setattr(sys, "path", [p for p in sys.path if Path(p).resolve() != ROOT])
    monkeypatch.delitem(sys.modules, room, raising=False)
    with pytest.raises(BadPlugin) as caught:
        import_file(file)
    said = str(caught.value)
    assert said.count(f"Munro's {room!r} is imported as munro.{room}") == 1
    assert said.endswith("(old.py:2)")


def test_the_command_of_an_older_install_says_how_to_install_again(tmp_path: Path) -> None:
    script = tmp_path / "munro"  # as pip wrote it before there was one name
    script.write_text("import sys\nfrom machine.cli import main\nsys.exit(main())\n")
    done = subprocess.run(
        [sys.executable, "-P", script, "climb", "x"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr == (
        "munro: this command was installed from an older checkout. Install it again: `make setup` "
        f"in {ROOT}, or {sys.executable} -m pip install -e {ROOT}\n"
    )


def test_the_version_is_the_distributions() -> None:
    assert munro.__version__ == metadata.version("munro")


def test_importing_munro_brings_nothing_with_it(tmp_path: Path) -> None:
    code = (
        "import sys; import munro; munro.__version__; "
        "print([n for n in sys.modules if n.startswith('munro.')], 'pydantic' in sys.modules)"
    )
    assert python(code, tmp_path).stdout == "[] False\n"
