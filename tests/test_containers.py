"""The images' recipes, read as an engine would read them, where none is at hand to build them."""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
INSTRUCTIONS = {
    *("ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL"),
    *("ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
}
files = pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.cuda"])


def read(text: str) -> list[tuple[str, str]]:
    """Instructions and what stands behind them; lines that end in a backslash go on."""
    lines = [line for line in text.split("\n") if not line.lstrip().startswith("#")]
    whole = re.sub(r"\\\n", " ", "\n".join(lines))
    found = [line.strip().partition(" ") for line in whole.split("\n") if line.strip()]
    return [(word, " ".join(rest.split())) for word, _, rest in found]


def faults(text: str) -> list[str]:
    """What is wrong with a recipe for an image."""
    steps = read(text)
    found = [f"no instruction {word}" for word, _ in steps if word not in INSTRUCTIONS]
    if not steps or steps[0][0] != "FROM":
        found.append("it does not begin with FROM")
    for word, rest in steps:
        if word == "FROM" and not re.search(r":[\w.-]*\d[\w.-]*$", rest):
            found.append(f"FROM {rest} is not pinned")
        if word in ("CMD", "ENTRYPOINT") and not is_list(rest):
            found.append(f"{word} {rest} goes through a shell")
        if word == "ADD":
            found.append("ADD fetches and unpacks: COPY copies")
        if word == "RUN":
            found += faults_of_run(rest)
    users = [rest for word, rest in steps if word == "USER"]
    if not users or users[-1] in ("root", "0"):
        found.append("it runs as root")
    return found


def faults_of_run(command: str) -> list[str]:
    found = []
    if subprocess.run(["sh", "-n", "-c", command], capture_output=True, check=False).returncode:
        found.append(f"no shell takes {command}")
    if "apt-get install" in command:
        wanted = ("apt-get update", "--no-install-recommends", "rm -rf /var/lib/apt/lists", " -y")
        found += [f"apt-get without {one}" for one in wanted if one not in command]
    for part in command.split("&&"):
        if "pip install" in part and "--no-cache-dir" not in part:
            found.append("pip keeps what it fetched")
    return found


def is_list(text: str) -> bool:
    try:
        words = json.loads(text)
    except ValueError:
        return False
    return isinstance(words, list) and all(isinstance(word, str) for word in words)


@files
def test_nothing_is_wrong_with_it(name: str) -> None:
    assert faults((ROOT / name).read_text()) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("RUN true\nUSER me", "does not begin with FROM"),
        ("FROM debian\nUSER me", "not pinned"),
        ("FROM debian:latest\nUSER me", "not pinned"),
        ("FROM debian:12\nRAN x\nUSER me", "no instruction RAN"),
        ("FROM debian:12\nRUN apt-get install -y x\nUSER me", "apt-get without apt-get update"),
        ("FROM debian:12\nRUN pip install x\nUSER me", "pip keeps"),
        ('FROM debian:12\nRUN echo "x\nUSER me', "no shell takes"),
        ("FROM debian:12\nCMD munro\nUSER me", "goes through a shell"),
        ("FROM debian:12\nUSER me\nUSER root", "runs as root"),
        ("FROM debian:12", "runs as root"),
    ],
)
def test_a_fault_is_found(text: str, fault: str) -> None:
    assert any(fault in one for one in faults(text)), faults(text)


@files
def test_it_installs_what_the_project_has(name: str) -> None:
    text = (ROOT / name).read_text()
    ((extras,)) = re.findall(r'"\.\[([\w,]+)\]"', text)
    assert set(extras.split(",")) <= PROJECT["optional-dependencies"].keys()
    pinned = re.findall(r"torch==[\w.+]+", text)
    assert all(one in (ROOT / "install.sh").read_text() for one in pinned)
    for removed in re.findall(r"pip uninstall -y ([\w ]+)", text):
        assert f"'{removed.strip()}'" in (ROOT / "install.sh").read_text()
    assert 'ENTRYPOINT ["munro"]' in text
    assert "munro" in PROJECT["scripts"]


def test_what_the_wheel_is_made_of_is_sent_to_the_engine() -> None:
    left_out = [
        line
        for line in (ROOT / ".dockerignore").read_text().split("\n")
        if line and not line.startswith("#")
    ]
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    needed = [*build["targets"]["wheel"]["only-include"], "README.md", "LICENSE", "pyproject.toml"]
    for path in needed:
        parts = Path(path).parts
        above = ["/".join(parts[: n + 1]) for n in range(len(parts))]
        assert not [one for one in left_out for part in above if fnmatch.fnmatch(part, one)], path
    assert {".git", "runs"} <= set(left_out)


def test_commands_that_the_heads_show_are_words() -> None:
    for name in ("Dockerfile", "Dockerfile.cuda"):
        shown = re.findall(r"^# (?:Run:|.*Build:) +(docker .*)$", (ROOT / name).read_text(), re.M)
        assert len(shown) == 2
        assert all(shlex.split(line)[0] == "docker" for line in shown)
