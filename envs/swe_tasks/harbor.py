"""Folders that Harbor builds and runs: ours, with the repository and a container's recipe."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

from munro.envs.swe.folder import TaskFolder, write_folder
from munro.envs.swe.harbor_side import DOCKERFILE, WORKDIR
from munro.rewards.sandbox import Layer


def write_harbor(task: TaskFolder, path: Path, store: Path) -> None:
    """A task's folder with `environment/repo.tar` and a Dockerfile, the same bytes each time.

    Raises:
        SandboxError: a layer is gone.
        OSError: the disk is full.
    """
    layers = task.image(store).layers
    write_folder(task, path)
    (path / "environment/repo.tar").write_bytes(_tar(layers))
    wanted = " ".join(f"'{name}'" for name in task.requirements or ("pytest",))
    places = ":".join(
        WORKDIR if folder == "." else f"{WORKDIR}/{folder}" for folder in task.imports
    )
    recipe = DOCKERFILE.format(
        python=task.python, requirements=wanted, workdir=WORKDIR, paths=places
    )
    (path / "environment/Dockerfile").write_text(recipe)


def _tar(layers: tuple[Layer, ...]) -> bytes:
    """The tree that layers make, where upper ones only add and replace."""
    places: dict[str, Path] = {}
    for layer in layers:
        for top, folders, files in os.walk(layer.path):
            for name in [*files, *(n for n in folders if os.path.islink(os.path.join(top, n)))]:
                place = Path(top, name)
                places[str(place.relative_to(layer.path))] = place
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, place in sorted(places.items()):
            info = tar.gettarinfo(place, name)
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            info.mtime = 946_684_800
            if info.isreg():
                with place.open("rb") as file:
                    tar.addfile(info, file)
            elif info.issym():
                tar.addfile(info)
    return written.getvalue()
