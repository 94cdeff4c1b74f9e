"""A task as a folder, in Harbor's form (schema 1.4) with what we need under [metadata.munro].

    task.toml            limits, the image's layers, digests of all that is hidden
    instruction.md       what the agent is asked
    environment/         image.toml; where it was exported also repo.tar and a Dockerfile
    tests/               files/ of the hidden tests, fail_to_pass.json, pass_to_pass.json,
                         twins.json, test.sh for who runs it with Harbor
    solution/            patch.diff, solve.sh
    provenance.json      repository, commits, date, licence, how it was proven

The same task is the same bytes. What was edited by hand is noticed by its digest.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import tomli_w

from munro.envs.swe import harbor_side
from munro.envs.swe.expected import Edit
from munro.envs.swe.patch import applied
from munro.envs.swe.run import IMPORTS
from munro.envs.swe.twins import TwinFile
from munro.rewards.sandbox import Image, Layer
from munro.rewards.sandbox.image import find_layer

SCHEMA = "1.4"
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")
LAYERS = ".layers"
"""Folder beside the tasks' own in which `munro swe build` keeps their layers."""


class BadTask(ValueError):
    """A folder that holds no task, or another one than was proven. One line that says why."""

    is_sentence = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFolder:
    """One task of software engineering.

    Example:
        read_folder(Path("tasks/boltons-8a2a93d8"))
    """

    id: str
    """Of the folder and the task: letters, digits, `._-`."""
    statement: str
    layers: tuple[str, ...]
    """Digests, lowest first: together the repository as the agent finds it."""
    packages: tuple[str, ...] = ()
    """Digests of what Python in the box imports from: pytest, and what the repository needs."""
    requirements: tuple[str, ...] = ()
    """The same for pip, where it is known: "pytest==9.2.0"."""
    python: str = "3.11"
    imports: tuple[str, ...] = IMPORTS
    """Folders of the repository from which its modules are imported, where they are there."""
    tests: Mapping[str, bytes] = field(default_factory=dict)
    """Files of the hidden tests, by path below the repository."""
    removed: tuple[str, ...] = ()
    """Test files of the repository that are gone where the hidden ones are there."""
    fail_to_pass: tuple[str, ...]
    pass_to_pass: tuple[str, ...] = ()
    twins: tuple[TwinFile, ...] = ()
    patch: str
    """The solution, as git writes it."""
    test_s: float = 20.0
    """Seconds of one test."""
    wall_s: float = 300.0
    """Seconds of one run of all tests."""
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def test_paths(self) -> tuple[str, ...]:
        """Files that a grading runs."""
        ids = (*self.fail_to_pass, *self.pass_to_pass)
        return tuple(sorted({test.partition("::")[0] for test in ids}))

    def image(self, store: Path) -> Image:
        """What the agent's box begins with, and the grader's.

        Raises:
            SandboxError: a layer is not in the store.
        """
        return Image(
            layers=tuple(find_layer(digest, store) for digest in self.layers),
            packages=tuple(find_layer(digest, store) for digest in self.packages),
        )

    def gold(self, store: Path) -> dict[str, bytes | None]:
        """Files as the solution leaves them, None for those that it deletes.

        Raises:
            BadPatch: the solution does not fit the repository.
            SandboxError: a layer is not in the store.
        """
        layers = self.image(store).layers
        return applied(self.patch, lambda path: read_from(layers, path))

    def digest(self) -> str:
        """Of everything that grading depends on. Hex."""
        whole = {**_files(self), "image": _image_toml(self).encode()}
        return _digest(json.dumps({name: _digest(text) for name, text in whole.items()}).encode())


def read_from(layers: tuple[Layer, ...], path: str) -> bytes | None:
    """A file of an image, from outside; None where there is none, or no plain file."""
    for layer in reversed(layers):
        place = layer.path / path
        if place.is_symlink() or place.exists():
            is_plain = place.is_file() and place.resolve().is_relative_to(layer.path.resolve())
            return place.read_bytes() if is_plain and not place.is_symlink() else None
    return None


def write_folder(task: TaskFolder, path: Path) -> None:
    """Write a task. An old folder of that name is replaced by the whole of the new one.

    Raises:
        BadTask: its id is no name for a folder, or a path of a test leads out of the repository.
        OSError: the disk is full.
    """
    _check(task, str(path))
    fresh = path.with_name(f".new-{path.name}")
    shutil.rmtree(fresh, ignore_errors=True)
    for name, contents in _files(task).items():
        place = fresh / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(contents)
        place.chmod(0o755 if name.endswith(".sh") else 0o644)
    shutil.rmtree(path, ignore_errors=True)
    fresh.rename(path)


def _check(task: TaskFolder, place: str) -> None:
    if not ID.fullmatch(task.id):
        raise BadTask(f"{place}: {task.id!r:.80} is no name of a task: letters, digits and ._- are")
    for name in (*task.tests, *task.removed, *(twin.of for twin in task.twins)):
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or not name.isprintable():
            raise BadTask(f"{place}: test file {name!r:.80} is not below the repository")
    if not task.fail_to_pass:
        raise BadTask(f"{place}: there is no test that the solution makes pass (fail_to_pass)")
    if both := sorted({*task.fail_to_pass} & {*task.pass_to_pass}):
        raise BadTask(f"{place}: {both[0]} is in fail_to_pass and in pass_to_pass")


def _files(task: TaskFolder) -> dict[str, bytes]:
    """All files of the folder, by path in it."""
    found: dict[str, bytes] = {
        "tests/fail_to_pass.json": _json(sorted(task.fail_to_pass)),
        "tests/pass_to_pass.json": _json(sorted(task.pass_to_pass)),
        "tests/removed.json": _json(sorted(task.removed)),
        "tests/test.sh": harbor_side.TEST.encode(),
        "tests/verify.py": Path(harbor_side.__file__).with_name("harbor_verify.py").read_bytes(),
        "solution/patch.diff": task.patch.encode(errors="surrogateescape"),
        "solution/solve.sh": harbor_side.SOLVE.encode(),
    }
    for name, contents in task.tests.items():
        found[f"tests/files/{name}"] = contents
    index = []
    for twin in sorted(task.twins, key=lambda twin: twin.of):
        index.append(twin_as_data(twin))
    found["tests/twins.json"] = _json(index)
    digests = {name: _digest(contents) for name, contents in sorted(found.items())}
    found["instruction.md"] = (task.statement.rstrip() + "\n").encode(errors="replace")
    found["environment/image.toml"] = _image_toml(task).encode()
    found["provenance.json"] = _json(dict(task.provenance))
    found["task.toml"] = _task_toml(task, digests).encode()
    return dict(sorted(found.items()))


def _image_toml(task: TaskFolder) -> str:
    return tomli_w.dumps(
        {
            "layers": list(task.layers),
            "packages": list(task.packages),
            "requirements": list(task.requirements),
            "python": task.python,
            "imports": list(task.imports),
        }
    )


def _task_toml(task: TaskFolder, digests: Mapping[str, str]) -> str:
    return tomli_w.dumps(
        {
            "schema_version": SCHEMA,
            "task": {"name": f"munro/{task.id}"},
            "metadata": {
                "munro": {
                    "kind": "swe",
                    "test_s": task.test_s,
                    "wall_s": task.wall_s,
                    "digests": dict(digests),
                }
            },
            "verifier": {"timeout_sec": task.wall_s + 60},
            "agent": {"timeout_sec": 3600.0},
            "environment": {"network_mode": "no-network", "workdir": harbor_side.WORKDIR},
        }
    )


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=True) + "\n").encode()


def _digest(contents: bytes) -> str:
    return hashlib.sha256(contents).hexdigest()


def is_ours(path: Path) -> bool:
    """Whether the folder holds a task that `write_folder` wrote."""
    try:
        told = tomllib.loads((path / "task.toml").read_text())
        return bool(told["metadata"]["munro"]["kind"] == "swe")
    except (OSError, ValueError, KeyError, TypeError):
        return False


def read_folder(path: Path) -> TaskFolder:
    """The task of a folder that `write_folder` wrote.

    Raises:
        BadTask: there is none, or it is not what it was when it was proven.
    """
    if not (path / "task.toml").is_file():
        raise BadTask(f"{path} holds no task: there is no task.toml in it")
    try:
        told = tomllib.loads((path / "task.toml").read_text())
        ours = told.get("metadata", {}).get("munro")
        if not isinstance(ours, dict) or ours.get("kind") != "swe":
            raise BadTask(
                f"{path} is a task of Harbor's without [metadata.munro]: path = 'harbor' plays it, "
                "with its own tests"
            )
        _check_digests(path, ours["digests"])
        task = _read(path, ours)
    except BadTask:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadTask(f"{path} holds no whole task: {type(error).__name__}: {error}") from error
    _check(task, str(path))
    return task


def _check_digests(path: Path, digests: Mapping[str, str]) -> None:
    """Nothing hidden is other than it was, and nothing was added."""
    there = {
        str(place.relative_to(path))
        for top in ("tests", "solution")
        for place in (path / top).rglob("*")
        if place.is_symlink() or place.is_file()
    }
    way_out = "restore it, or make the task anew"
    for name, digest in digests.items():
        if name not in there or (path / name).is_symlink():
            raise BadTask(f"{path}: {name} is missing since the task was proven: {way_out}")
        if _digest((path / name).read_bytes()) != digest:
            raise BadTask(f"{path}: {name} was changed since the task was proven: {way_out}")
    if added := sorted(there - set(digests)):
        raise BadTask(f"{path}: {added[0]} was added since the task was proven: {way_out}")


def _read(path: Path, ours: Mapping[str, Any]) -> TaskFolder:
    image = tomllib.loads((path / "environment/image.toml").read_text())
    tests = path / "tests"
    twins = [twin_of_data(twin) for twin in _list(tests / "twins.json")]
    files = tests / "files"
    return TaskFolder(
        id=path.name,
        statement=(path / "instruction.md").read_text(),
        layers=tuple(image["layers"]),
        packages=tuple(image["packages"]),
        requirements=tuple(image["requirements"]),
        python=image["python"],
        imports=tuple(image["imports"]),
        tests={
            str(file.relative_to(files)): file.read_bytes()
            for file in sorted(files.rglob("*"))
            if file.is_file()
        },
        removed=tuple(_list(tests / "removed.json")),
        fail_to_pass=tuple(_list(tests / "fail_to_pass.json")),
        pass_to_pass=tuple(_list(tests / "pass_to_pass.json")),
        twins=tuple(twins),
        patch=(path / "solution/patch.diff").read_bytes().decode(errors="surrogateescape"),
        test_s=float(ours["test_s"]),
        wall_s=float(ours["wall_s"]),
        provenance=json.loads((path / "provenance.json").read_text()),
    )


def twin_as_data(twin: TwinFile) -> dict[str, Any]:
    """For JSON."""
    edits = [
        {"id": name, "start": edit.start, "end": edit.end, "text": edit.text.decode()}
        for name, edit in twin.edits
    ]
    ids = {"must_fail": list(twin.must_fail), "must_pass": list(twin.must_pass)}
    return {"of": twin.of, "edits": edits, **ids}


def twin_of_data(told: Mapping[str, Any]) -> TwinFile:
    """What `twin_as_data` made."""
    edits = [
        (each["id"], Edit(int(each["start"]), int(each["end"]), each["text"].encode()))
        for each in told["edits"]
    ]
    return TwinFile(
        of=told["of"],
        edits=tuple(edits),
        must_fail=tuple(told["must_fail"]),
        must_pass=tuple(told["must_pass"]),
    )


def _list(path: Path) -> list[Any]:
    value = json.loads(path.read_text())
    if not isinstance(value, list):
        raise BadTask(f"{path} must hold a list")
    return value
