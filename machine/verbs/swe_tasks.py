"""`munro swe check | export | import`: are tasks what they say, and how do others have them?"""

from __future__ import annotations

from pathlib import Path

import click

from munro.envs.swe import folders_in
from munro.envs.swe.folder import LAYERS, BadTask, write_folder
from munro.envs.swe_tasks.check import TABLES, check_task, leaks_of, read_all, told, with_twins
from munro.envs.swe_tasks.harbor import write_harbor
from munro.envs.swe_tasks.rows import read_rows, task_of_row, write_rows
from munro.rewards import sandbox


def run_check(path: str, *, store: str, rounds: int, hacks: str, host: bool) -> int:
    """Prove every task of a folder again; exit status 1 where one is no task.

    Raises:
        BadTask: there is no task in it, or an option is not what it should be.
        SandboxError: there is no sandbox to be had, or a layer is gone.
    """
    if rounds < 1:
        raise BadTask(f"--rounds {rounds}: at least one")
    if hacks not in TABLES:
        raise BadTask(f"--hacks {hacks}: write {', '.join(TABLES)}")
    folders = folders_in(Path(path).expanduser())
    layers = _store(folders, store)
    tasks, found = read_all(folders)
    for checked in found:
        click.echo(checked.line())
    leaks = leaks_of(tasks, layers, looks_at_host=host)
    with sandbox.open("namespaces", store=layers) as box:
        for name, task in tasks.items():
            checked = check_task(
                task, leaks.get(name, []), box=box, store=layers, rounds=rounds, table=hacks
            )
            click.echo(checked.line())
            found.append(checked)
    for line in told(found):
        click.echo(line)
    return 1 if any(checked.problems for checked in found) else 0


def run_export(path: str, out: str, *, form: str, store: str) -> int:
    """Write tasks as others read them.

    Raises:
        BadTask: there is no task, or one that cannot be read; nothing is written then.
        SandboxError: a layer is gone.
    """
    folders = folders_in(Path(path).expanduser())
    layers = _store(folders, store)
    tasks, bad = read_all(folders)
    if bad:
        raise BadTask(bad[0].problems[0])
    place = Path(out).expanduser()
    if form == "swebench":
        place.parent.mkdir(parents=True, exist_ok=True)
        write_rows(list(tasks.values()), layers, place)
    else:
        place.mkdir(parents=True, exist_ok=True)
        for name, task in tasks.items():
            write_harbor(task, place / name, layers)
    click.echo(f"{len(tasks)} tasks in {place}")
    return 0


def run_import(file: str, out: str, *, store: str) -> int:
    """Folders of tasks from rows with SWE-bench's columns, with twins chosen where there are none.

    Raises:
        BadTask: no row can be had, or the first that cannot is told; what came before it is there.
        SandboxError: there is no sandbox to be had, or a layer is gone.
    """
    rows, place = read_rows(Path(file).expanduser()), Path(out).expanduser()
    layers = Path(store).expanduser() if store else place / LAYERS
    if not layers.is_dir():
        raise BadTask(f"{layers}: there are no layers of the rows' images; name them with --store")
    place.mkdir(parents=True, exist_ok=True)
    with sandbox.open("namespaces", store=layers) as box:
        for row in rows:
            task = task_of_row(row, layers)
            if not task.twins:
                task = with_twins(task, box=box, store=layers)
            write_folder(task, place / task.id)
    click.echo(f"{len(rows)} tasks in {place}")
    return 0


def _store(folders: list[Path], store: str) -> Path:
    layers = Path(store).expanduser() if store else folders[0].parent / LAYERS
    if not layers.is_dir():
        raise BadTask(
            f"{layers}: there are no layers of these tasks' images; copy the folder .layers along "
            "with them, or name theirs with --store"
        )
    return layers
