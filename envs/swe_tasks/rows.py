"""Tasks as rows with SWE-bench's columns, in Parquet; and rows of ours as tasks again.

A row's `image_name` says where its box comes from. Ours names layers ("munro:DIGEST+DIGEST"); one
that names an image of docker's cannot be had here, and is refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from munro.envs.swe.folder import BadTask, TaskFolder, read_from, twin_as_data, twin_of_data
from munro.envs.swe.patch import applied
from munro.envs.swe_build.patch import patch_of

SCHEME = "munro:"
COLUMNS = (
    "repo",
    "instance_id",
    "base_commit",
    "patch",
    "test_patch",
    "problem_statement",
    "hints_text",
    "created_at",
    "version",
    "FAIL_TO_PASS",
    "PASS_TO_PASS",
    "environment_setup_commit",
    "image_name",
    "munro",
)
NEEDED = ("instance_id", "patch", "test_patch", "problem_statement", "FAIL_TO_PASS", "image_name")


def row_of(task: TaskFolder, store: Path) -> dict[str, str]:
    """A task as a row.

    Raises:
        BadTask: a hidden test file is no text, which no row can hold.
        SandboxError: a layer of its image is gone.
    """
    layers = task.image(store).layers
    names = [*task.tests, *task.removed]
    old = {name: read_from(layers, name) for name in names}
    new: dict[str, bytes | None] = {**task.tests, **dict.fromkeys(task.removed)}
    try:
        test_patch = patch_of(old, new)
    except UnicodeDecodeError as failure:
        raise BadTask(f"{task.id}: a hidden test file is no text: {failure}") from failure
    told = {name: str(value) for name, value in task.provenance.items()}
    return {
        "repo": told.get("repository", ""),
        "instance_id": task.id,
        "base_commit": told.get("base", ""),
        "patch": task.patch,
        "test_patch": test_patch,
        "problem_statement": task.statement,
        "hints_text": "",
        "created_at": told.get("date", ""),
        "version": "",
        "FAIL_TO_PASS": json.dumps(sorted(task.fail_to_pass)),
        "PASS_TO_PASS": json.dumps(sorted(task.pass_to_pass)),
        "environment_setup_commit": told.get("base", ""),
        "image_name": SCHEME + "+".join(task.layers),
        "munro": json.dumps(
            {
                "tests": sorted(task.tests),
                "packages": task.packages,
                "requirements": task.requirements,
                "python": task.python,
                "imports": task.imports,
                "twins": [twin_as_data(twin) for twin in task.twins],
                "test_s": task.test_s,
                "wall_s": task.wall_s,
                "provenance": dict(task.provenance),
            },
            sort_keys=True,
        ),
    }


def task_of_row(row: Mapping[str, Any], store: Path) -> TaskFolder:
    """A row as a task.

    Args:
        row: with at least NEEDED.
        store: of the layers that it names.

    Raises:
        BadTask: a column is missing, or its image is docker's.
        BadPatch: its test patch does not fit the repository.
        SandboxError: a layer is gone.
    """
    name = str(row.get("instance_id", "?"))
    if missing := [column for column in NEEDED if not row.get(column)]:
        raise BadTask(f"row {name}: there is no {missing[0]}")
    image = str(row["image_name"])
    if not image.startswith(SCHEME):
        raise BadTask(
            f"row {name}: its image {image!r:.80} is docker's, and Munro's boxes stand on layers: "
            "make tasks of its repository by `munro swe build`"
        )
    ours = json.loads(row.get("munro") or "{}")
    bare = TaskFolder(
        id=name,
        statement=str(row["problem_statement"]),
        layers=tuple(image.removeprefix(SCHEME).split("+")),
        packages=tuple(ours.get("packages", ())),
        fail_to_pass=_ids(row["FAIL_TO_PASS"]),
        pass_to_pass=_ids(row.get("PASS_TO_PASS") or "[]"),
        patch=str(row["patch"]),
    )
    layers = bare.image(store).layers
    tests = applied(str(row["test_patch"]), lambda path: read_from(layers, path))
    # a hidden file that is as the repository has it is in no patch
    asked = {test.partition("::")[0] for test in (*bare.fail_to_pass, *bare.pass_to_pass)}
    for path in sorted(set(ours.get("tests", asked)) - tests.keys()):
        if (contents := read_from(layers, path)) is not None:
            tests[path] = contents
    return TaskFolder(
        id=bare.id,
        statement=bare.statement,
        layers=bare.layers,
        packages=bare.packages,
        requirements=tuple(ours.get("requirements", ())),
        python=ours.get("python", bare.python),
        imports=tuple(ours.get("imports", bare.imports)),
        tests={path: contents for path, contents in tests.items() if contents is not None},
        removed=tuple(path for path, contents in tests.items() if contents is None),
        fail_to_pass=bare.fail_to_pass,
        pass_to_pass=bare.pass_to_pass,
        twins=tuple(twin_of_data(twin) for twin in ours.get("twins", ())),
        patch=bare.patch,
        test_s=float(ours.get("test_s", bare.test_s)),
        wall_s=float(ours.get("wall_s", bare.wall_s)),
        provenance=ours.get("provenance", {}),
    )


def _ids(value: Any) -> tuple[str, ...]:
    """A list of ids, which SWE-bench has as a list or as JSON."""
    found = json.loads(value) if isinstance(value, str) else value
    return tuple(map(str, found))


def write_rows(tasks: Sequence[TaskFolder], store: Path, file: Path) -> None:
    """Write tasks as Parquet. Raises as `row_of` does."""
    rows = [row_of(task, store) for task in tasks]
    table = pa.table({column: [row[column] for row in rows] for column in COLUMNS})
    pq.write_table(table, file)


def read_rows(file: Path) -> list[dict[str, Any]]:
    """The rows of a Parquet file.

    Raises:
        BadTask: it is none, or not there.
    """
    if not file.is_file():
        raise BadTask(f"{file}: there is no such file; `munro swe export` writes one")
    try:
        rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
    except (OSError, pa.ArrowInvalid) as failure:
        raise BadTask(f"{file} is no Parquet file: {str(failure)[:120]}") from failure
    return rows
