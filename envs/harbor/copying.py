"""COPY and ADD of a recipe: files of its own folder, as a layer.

Owners are not kept: all of a box is its one user's.
"""

from __future__ import annotations

import posixpath
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from munro.envs.harbor.recipe import Instruction, filled
from munro.rewards.sandbox import Layer, layer_of

SYSTEM = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "proc", "dev", "sys")
"""Folders at the root of a box that are the machine's own, and read-only."""
IGNORED = ("chown", "link", "checksum")
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_ELSEWHERE = re.compile(r"(?:https?|ftp|git|ssh)://|git@|github\.com[:/]")


def folder_at(layers: Sequence[Layer], path: str) -> Path | None:
    """The folder at an absolute path of an image, in the highest layer that has one."""
    below = path.strip("/")
    for layer in reversed(layers):
        place = layer.path / below
        if place.is_dir() and not place.is_symlink():
            return place
    return None


def made_folder(path: str, layers: Sequence[Layer], store: Path) -> list[Layer]:
    """A layer with the folder at an absolute path; none where it is there."""
    if path == "/" or folder_at(layers, path) is not None:
        return []
    with tempfile.TemporaryDirectory() as stage:
        _way_to(Path(stage), path, layers)
        return [layer_of(Path(stage), store)]


def is_system(path: str) -> bool:
    """Whether an absolute path is where the machine's own folders are."""
    parts = path.strip("/").split("/")
    return parts[0] in SYSTEM or parts[:2] in (["opt", "python"], ["opt", "image"])


def copied(
    asked: Instruction,
    context: Path,
    *,
    workdir: str,
    values: Mapping[str, str],
    layers: Sequence[Layer],
    store: Path,
) -> tuple[Layer, list[tuple[Path, str]]]:
    """What it copies, as a layer; and archives that ADD is to unpack, with the folders to do it in.

    Raises:
        BadFolder: it cannot be had here; names the line.
    """
    for flag in asked.flags:
        if flag not in ("chmod", *IGNORED):
            why = {"from": "files of another image are not to be had here"}
            raise asked.refused(why.get(flag, f"--{flag} is not known here"))
    *sources, last = [filled(word, values) for word in asked.words()] or [""]
    if not sources:
        raise asked.refused("there is nothing to copy, or nowhere to copy it to")
    target = posixpath.normpath(posixpath.join(workdir, last))
    if is_system(target):
        raise asked.refused(f"{target} is the machine's own in a box, and cannot be written")
    bodies = dict(asked.bodies)
    into = (
        last.endswith(("/", "."))
        or len(sources) > 1
        or target == "/"
        or folder_at(layers, target) is not None
    )
    archives: list[tuple[Path, str]] = []
    with tempfile.TemporaryDirectory() as top:
        stage = Path(top)
        for source in sources:
            if source.startswith("<<"):
                word = source.lstrip("<-").strip("\"'")
                place = f"{target}/{word}" if into else target
                (_way_to(stage, posixpath.dirname(place), layers) / Path(place).name).write_text(
                    bodies[word]
                )
                continue
            for path in _found(asked, context, source):
                if asked.name == "ADD" and path.name.endswith(ARCHIVES):
                    archives.append((path, target))
                    _way_to(stage, target, layers)
                elif path.is_dir():
                    shutil.copytree(
                        path, _way_to(stage, target, layers), symlinks=True, dirs_exist_ok=True
                    )
                else:
                    place = f"{target}/{path.name}" if into else target
                    folder = _way_to(stage, posixpath.dirname(place), layers)
                    shutil.copy2(path, folder / Path(place).name, follow_symlinks=False)
        _refuse_system(asked, stage)
        if mode := asked.flags.get("chmod"):
            _change(asked, stage / target.strip("/"), mode)
        return layer_of(stage, store), archives


def _found(asked: Instruction, context: Path, source: str) -> list[Path]:
    """Files and folders of the context that a source names."""
    if _ELSEWHERE.match(source):
        raise asked.refused("it needs the network, which no box has")
    if (context / ".dockerignore").is_file():
        raise asked.refused(".dockerignore is not read here: keep what is not to be copied apart")
    below = posixpath.normpath(source.lstrip("/") or ".")
    if below.startswith(".."):
        raise asked.refused(f"{source!r} leads out of the folder that it may copy from")
    if any(sign in below for sign in "*?["):
        found = sorted(context.glob(below))
    else:
        found = [path for path in [context / below] if path.exists() or path.is_symlink()]
    if not found:
        raise asked.refused(f"there is no {source!r} in {context.name}/")
    for path in found:
        if not path.resolve().is_relative_to(context.resolve()):
            raise asked.refused(f"{source!r} is a link that leads out of the folder")
    return found


def _way_to(stage: Path, path: str, layers: Sequence[Layer]) -> Path:
    """The folder at an absolute path of the stage; those on the way have the image's modes."""
    here, named = stage, ""
    for part in path.strip("/").split("/") if path.strip("/") else ():
        here, named = here / part, f"{named}/{part}"
        if not here.is_dir():
            here.mkdir()
            below = folder_at(layers, named)
            usual = 0o1777 if named in ("/tmp", "/var/tmp") else 0o755
            here.chmod(usual if below is None else below.stat().st_mode & 0o1777)
    return here


def _refuse_system(asked: Instruction, stage: Path) -> None:
    for name in (*SYSTEM, "opt/python", "opt/image"):
        place = stage / name
        if place.is_symlink() or place.exists():
            raise asked.refused(f"/{name} is the machine's own in a box, and cannot be written")


def _change(asked: Instruction, place: Path, mode: str) -> None:
    if not re.fullmatch(r"0?[0-7]{3,4}", mode):
        raise asked.refused(f"--chmod={mode}: write it in octal")
    for path in [place, *(place.rglob("*") if place.is_dir() else ())]:
        if not path.is_symlink():
            path.chmod(int(mode, 8) & 0o1777)
