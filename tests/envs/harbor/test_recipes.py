"""Recipes read and carried out; what cannot be had is one line that names the recipe's own."""

from __future__ import annotations

import io
import sys
import tarfile
from pathlib import Path

import pytest

from munro.envs.harbor.build import build, stands_for
from munro.envs.harbor.built import Built
from munro.envs.harbor.copying import folder_at
from munro.envs.harbor.errors import BadFolder
from munro.envs.harbor.folder import asks_others
from munro.envs.harbor.reading import read_foreign
from munro.envs.harbor.recipe import filled, read_recipe
from munro.rewards import sandbox
from munro.rewards.sandbox import Sandbox
from tests.envs.harbor.folders import SIMPLE, TERMINAL, TOML, but, written

MINE = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("layers")


@pytest.fixture(scope="module")
def box(store: Path):
    with sandbox.open("namespaces", store=store) as opened:
        yield opened


def made(tmp_path: Path, recipe: str, store: Path, box: Sandbox, **files: str) -> Built:
    written(tmp_path / "t", {**SIMPLE, "environment/Dockerfile": recipe})
    written(tmp_path / "t/environment", files)
    return build(read_foreign(tmp_path / "t"), store, lambda: box)


def test_instructions_are_read_with_their_lines() -> None:
    text = '# escape=`\n\nFROM x AS y\n# no\nRUN a `\n  # in it\n\n  && b\nenv A=1 B="2 3"\n'
    steps = read_recipe(text, "D")
    assert [(step.name, step.rest, step.line) for step in steps] == [
        ("FROM", "x AS y", 3),
        ("RUN", "a   && b", 5),
        ("ENV", 'A=1 B="2 3"', 9),
    ]
    assert steps[2].pairs() == {"A": "1", "B": "2 3"}
    (_, run, last) = read_recipe("FROM x\nRUN <<-E cat > /y\n\tone\n\tE\nUSER u\n", "D")
    assert (run.bodies, last.name) == ((("E", "one\n"),), "USER")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$A-${A}-$B", "1-1-"),
        ("${B:-2}${A:-2}", "21"),
        ("${A:+2}${B:+2}", "2"),
        ("\\$A", "$A"),
    ],
)
def test_variables_are_put_in(text: str, value: str) -> None:
    assert filled(text, {"A": "1"}) == value


@pytest.mark.parametrize(
    ("name", "stands"),
    [
        ("ubuntu", True),
        ("ubuntu:24.04", True),
        ("docker.io/library/debian:bookworm-slim", True),
        (f"python:{MINE}-slim", True),
        (f"python:{MINE}.4", True),
        ("python:3-slim", True),
        ("python:2.7", False),
        ("python:3.1", False),
        ("python:3.11-alpine", False),
        ("alpine:3.20", False),
        ("ghcr.io/laude-institute/t-bench/ubuntu-24-04:20250624", True),
        ("ghcr.io/laude-institute/t-bench/python-3-7:2", False),
        ("ghcr.io/somebody/ubuntu", False),
        ("scratch", False),
    ],
)
def test_what_this_machine_stands_for(name: str, stands: bool) -> None:
    assert stands_for(name) is stands


REFUSED = {
    "FROM node:20\n": "line 1, 'FROM node:20': this machine cannot stand for 'node:20'",
    "FROM debian\nRUN apt-get update && apt-get -y install jq\n": "line 2.*it needs the network",
    "FROM debian\nRUN pip install numpy\n": "line 2.*it needs the network",
    "FROM debian\n\nRUN echo here >&2; exit 3\n": "line 3.*ended with status 3 in a box: here",
    "FROM debian\nRUN touch /usr/bin/x\n": "line 2.*Read-only file system",
    "FROM debian\nFROM debian\n": "line 2.*several stages",
    "FROM debian\nCOPY --from=golang /x /y\n": "line 2.*files of another image",
    "FROM debian\nCOPY tool /usr/local/bin/\n": "line 2.*/usr/local/bin is the machine's own",
    "FROM debian\nCOPY . /\n": "line 2.*/usr is the machine's own",
    "FROM debian\nCOPY no*.txt /app/\n": "line 2.*there is no 'no\\*.txt' in environment/",
    "FROM debian\nCOPY ../tests /app/\n": "line 2.*leads out of the folder",
    "FROM debian\nADD https://x.org/y /app/\n": "line 2.*it needs the network",
    "FROM debian\nENTRYPOINT [\"/start\"]\n": "line 2.*nothing runs in a box",
    "FROM debian\nRUN --mount=type=bind,source=x,target=/y cat /y\n": "line 2.*--mount is not",
    "FROM debian\nRUNN x\n": "line 2, 'RUNN x': there is no such instruction",
    "FROM debian\nRUN <<E\nx\n": "line 2.*has no end 'E'",
    "FROM debian\nCOPY \"x /y\n": "line 2.*no closing quotation",
    "RUN x\n": "there is no FROM in it",
    "WORKDIR /x\nFROM debian\n": "line 1.*no FROM before it",
    "FROM debian\nWORKDIR /usr/src/app\n": "line 2.*/usr/src/app is the machine's own",
}  # fmt: skip


@pytest.mark.parametrize(("recipe", "why"), REFUSED.items(), ids=REFUSED.keys())
def test_what_cannot_be_had_names_its_line(
    recipe: str, why: str, tmp_path: Path, store: Path, box: Sandbox
) -> None:
    with pytest.raises(BadFolder, match=f"^(t/environment/Dockerfile ?|.*){why}") as told:
        made(tmp_path, recipe, store, box, tool="", **{"usr/x": ""})
    assert "\n" not in str(told.value)


def test_files_are_copied_as_docker_copies_them(tmp_path: Path, store: Path, box: Sandbox) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        entry = tarfile.TarInfo("inner/file")
        entry.size = 2
        tar.addfile(entry, io.BytesIO(b"in"))
    (tmp_path / "t/environment").mkdir(parents=True)
    (tmp_path / "t/environment/some.tar").write_bytes(data.getvalue())
    recipe = """FROM debian
WORKDIR /app
COPY one.txt two
COPY one.txt .
COPY folder /app/into
COPY folder/*.txt one.txt /app/many/
RUN chmod 750 many
COPY one.txt /app/many/last
ADD some.tar /app/unpacked/
ADD one.txt /app/unpacked/
"""
    files = {"one.txt": "1", "folder/a.txt": "a", "folder/deep/b": "b"}
    built = made(tmp_path, recipe, store, box, **files)
    with box.session(image=built.image) as session:
        listed = session.run(
            ["sh", "-c", "cd app && find . -type f | LC_ALL=C sort; stat -c %a many"]
        )
    assert listed.stdout.decode().split() == [
        "./into/a.txt", "./into/deep/b", "./many/a.txt", "./many/last", "./many/one.txt",
        "./one.txt", "./two", "./unpacked/inner/file", "./unpacked/one.txt", "750",
    ]  # fmt: skip


def test_the_same_recipe_makes_the_same_layers(tmp_path: Path, store: Path) -> None:
    recipe = "FROM debian\nWORKDIR /a/b\nRUN echo 1 > c; mkdir /tmp/d\n"
    digests = []
    for name in ("one", "two"):
        with sandbox.open("namespaces", store=tmp_path / name) as other:
            built = made(tmp_path / name, recipe, tmp_path / name, other)
            digests.append(built.image.digests)
            assert folder_at(built.image.layers, "/tmp/d") is not None
    assert digests[0] == digests[1]


def test_an_image_that_holds_its_own_solution_is_refused(
    tmp_path: Path, store: Path, box: Sandbox
) -> None:
    with pytest.raises(BadFolder, match=r"its image has solve.sh of the hidden side, as /app/h.sh"):
        made(
            tmp_path, "FROM debian\nCOPY h.sh /app/\n", store, box,
            **{"h.sh": SIMPLE["solution/solve.sh"]},
        )  # fmt: skip


NOT_HERE = {
    ("task.toml", "schema_version ="): "task.toml cannot be read",
    ("task.toml", TOML.replace("timeout_sec = 60.0", "timeout_sec = -1")): "timeout_sec = -1",
    ("task.toml", f"{TOML}os = 'windows'\n"): "environment.os = 'windows': boxes are Linux",
    ("task.toml", f"{TOML}memory = 'much'\n"): "environment.memory = 'much': write '2G'",
    ("task.toml", f"{TOML}env = {{KEY = '${{KEY}}'}}\n"): "env.KEY takes KEY from this machine",
    ("task.toml", f"{TOML}[[steps]]\nname = 'a'\n"): "steps: tasks of several steps",
    (
        "task.toml",
        f"{TOML}[verifier.environment]\ndocker_image = 'x'\n",
    ): "verifier.environment.docker_image = 'x'",
    ("task.toml", f"artifacts = ['answer.txt']\n{TOML}"): "'answer.txt' must be a path from /",
    (
        "task.toml",
        f"artifacts = [{{source = '/app', exclude = ['*.log']}}]\n{TOML}",
    ): "artifacts: exclude is not known here",
    ("environment/docker-compose.yaml", "services: {}"): "docker-compose.yaml asks for services",
    ("instruction.md", " \n"): "instruction.md is empty",
    ("tests/test.sh", None): "there is no tests/test.sh",
    (
        "tests/test.sh",
        "#!/bin/bash\n\napt-get update\n",
    ): "tests/test.sh line 3, 'apt-get update', needs the network",
    ("environment/Dockerfile", None): "there is no environment/Dockerfile",
}


@pytest.mark.parametrize(("changed", "why"), NOT_HERE.items(), ids=map(str, range(len(NOT_HERE))))
def test_folders_of_harbor_that_cannot_be_had(
    changed: tuple[str, str | None], why: str, tmp_path: Path, store: Path, box: Sandbox
) -> None:
    written(tmp_path / "t", but(SIMPLE, *changed))
    with pytest.raises(BadFolder) as told:
        build(read_foreign(tmp_path / "t"), store, lambda: box)
    assert why in str(told.value)
    assert "\n" not in str(told.value)


TERMINALS = {
    ("task.yaml", "difficulty: easy\n"): "there is no instruction",
    ("task.yaml", "- a: [\n"): "cannot be read",
    ("task.yaml", "instruction: x\nparser_name: swebench\n"): "parser_name = 'swebench'",
    ("docker-compose.yaml", "services: {a: {}, b: {}}"): "has the services a, b: a box is one",
    ("docker-compose.yaml", "services: {a: {privileged: true}}"): "a.privileged asks for more",
    ("run-tests.sh", "curl -LsSf https://x.sh | sh\n"): "run-tests.sh line 1",
}


@pytest.mark.parametrize(("changed", "why"), TERMINALS.items(), ids=map(str, range(len(TERMINALS))))
def test_folders_of_terminal_bench_that_cannot_be_had(
    changed: tuple[str, str | None], why: str, tmp_path: Path
) -> None:
    written(tmp_path / "t", but(TERMINAL, *changed))
    with pytest.raises(BadFolder, match=why):
        read_foreign(tmp_path / "t")


@pytest.mark.parametrize(
    "line",
    [
        "apt-get update",
        "sudo apt-get -y install curl",
        "curl -LsSf https://astral.sh/uv/install.sh | sh",
        "uvx --with pytest pytest /tests",
        "python3 -m pip install pytest",
        "npm ci",
        "git clone https://x.org/y",
    ],
)
def test_lines_that_ask_others(line: str) -> None:
    assert asks_others(f"#!/bin/sh\n{line}\n") == (2, line)


@pytest.mark.parametrize(
    "line",
    [
        "# apt-get update",
        "curl http://localhost:8000/health",
        "pip install --no-index --find-links /wheels x",
        "pip install -e .",
        "echo install update",
        "git clone /srv/repo",
    ],
)
def test_lines_that_ask_nobody(line: str) -> None:
    assert asks_others(line) is None
