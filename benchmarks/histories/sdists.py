"""Histories of released packages: each version's source distribution is a commit.

    python benchmarks/histories/sdists.py OUT [NAME ...]      # a repository each, in OUT/NAME
    munro swe build OUT/toolz --out tasks/toolz

For machines that may ask a package index and nothing else. Only names and versions stand here. What
a changelog says of a version is that commit's message. pip asks the build back end of each archive
for its metadata when it downloads it, so name only packages that you would install.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from munro.envs.swe_build.git import environment
from munro.envs.swe_build.patch import added_lines, split

VERSIONS: Mapping[str, Sequence[str]] = {
    name: tuple(versions.split())
    for name, versions in {
        "cachetools": "5.3.3 5.4.0 5.5.0 5.5.1 5.5.2 7.2.6 7.2.7 7.2.8 7.3.0 7.3.1 7.3.2 7.3.3"
        " 8.0.0 8.0.1 8.0.2",
        "jmespath": "0.9.4 0.9.5 0.10.0 1.0.0 1.0.1",
        "jsonpatch": "1.31 1.32 1.33 1.34 1.35 1.36 1.37 1.38 1.39 1.40 1.41 1.42 1.43 1.44 1.45"
        " 1.46 1.47 1.48",
        "more-itertools": "10.4.0 10.5.0 10.6.0 10.7.0",
        "packaging": "24.0 24.1",
        "parse": "1.19.0 1.19.1 1.20.0 1.20.1 1.20.2 1.21.0 1.21.1 1.22.0 1.22.1 1.22.2 1.22.3"
        " 1.22.4",
        "pathspec": "0.10.1 0.10.2 0.10.3 0.11.0 0.11.1 0.11.2 0.12.0 0.12.1 1.0.0 1.0.1 1.0.2"
        " 1.0.3 1.0.4 1.1.0 1.1.1",
        "semver": "3.0.1 3.0.2 3.0.4 3.1.0 3.1.1 3.1.2",
        "simpleeval": "0.9.11 0.9.12 0.9.13 1.0.0 1.0.1 1.0.2 1.0.3 1.0.4 1.0.5 1.0.6 1.0.7 1.0.8",
        "sqlparse": "0.4.2 0.4.3 0.4.4 0.5.0 0.5.1 0.5.2 0.5.3 0.5.4 0.5.5 0.6.0 0.6.1",
        "toolz": "0.11.1 0.11.2 0.12.0 0.12.1 1.0.0",
        "unidiff": "0.7.0 0.7.1 0.7.2 0.7.3 0.7.4 0.7.5 1.0.0 1.0.1",
        "wcwidth": "0.2.11 0.2.12 0.2.13 0.7.0 0.8.0 0.8.1 0.8.2 0.8.3 0.8.4 0.8.5 0.9.0 0.9.1"
        " 0.9.2 0.9.3 0.9.4",
    }.items()
}
"""Packages whose source distributions hold their tests."""
AT_ONCE = 4
"""Downloads; most of the time is the index's and the build back ends'."""
CHANGELOGS = ("change", "history", "news", "release", "versions")
LEFT_OUT = ("PKG-INFO", "SOURCES.txt")
AUTHOR = {
    "GIT_AUTHOR_NAME": "Releases",
    "GIT_AUTHOR_EMAIL": "releases@example.invalid",
    "GIT_COMMITTER_NAME": "Releases",
    "GIT_COMMITTER_EMAIL": "releases@example.invalid",
}


def history_of(name: str, versions: Sequence[str], folder: Path) -> None:
    """Make `folder` a repository with one commit for each version, oldest first.

    Raises:
        SystemExit: a version cannot be had; says which.
    """
    folder.mkdir(parents=True)
    _git(folder, "init", "-q", "-b", "main", seconds=0)
    before: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(AT_ONCE) as pool:
        places = [Path(scratch) / version for version in versions]
        found = pool.map(download, [name] * len(places), versions, places)
        for version, place, archive in zip(versions, places, found, strict=True):
            tree, seconds = unpacked(archive, place)
            for path in sorted(folder.iterdir()):
                if path.name != ".git":
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            shutil.copytree(tree, folder, dirs_exist_ok=True, symlinks=True)
            before = _committed(folder, before, f"{name} {version}", seconds)


def _committed(
    folder: Path, before: Mapping[str, bytes], release: str, seconds: int
) -> dict[str, bytes]:
    """Commit what lies in the folder; returns its files."""
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".git" not in path.parts
    }
    changed = [path for path in files if path.endswith(".py") and files[path] != before.get(path)]
    message = told(before, files) or f"{release} behaves otherwise in {', '.join(changed)}"
    _git(folder, "add", "-A", "-f", seconds=seconds)
    _git(folder, "commit", "-q", "-m", message, seconds=seconds)
    return files


def download(name: str, version: str, folder: Path) -> Path:
    """The archive of a version."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--no-binary", ":all:", "--dest", str(folder), f"{name}=={version}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = sorted(folder.glob("*.tar.gz"))
    if done.returncode or len(found) != 1:
        said = (done.stderr.strip().splitlines() or ["no archive came"])[-1]
        sys.exit(f"{name} {version}: {said}")
    return found[0]


def unpacked(archive: Path, folder: Path) -> tuple[Path, int]:
    """The tree of an archive, without what packing it made, and its date in seconds."""
    with tarfile.open(archive) as packed:
        members = packed.getmembers()
        packed.extractall(folder / "tree", filter="data")
    (tree,) = (folder / "tree").iterdir()
    for path in sorted(tree.rglob("*")):
        if path.is_dir() and path.name.endswith(".egg-info"):
            shutil.rmtree(path)
        elif path.is_file() and path.name in LEFT_OUT:
            path.unlink()
    return tree, max(int(member.mtime) for member in members)


def told(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> str:
    """What the changelogs say that they did not say before."""
    lines = []
    for path, contents in sorted(after.items()):
        name = path.rpartition("/")[2].lower()
        if name.startswith(CHANGELOGS) and path in before:
            new = split(contents)
            added = [new[number - 1] for number in added_lines(before[path], contents)]
            lines += [line.decode(errors="replace").rstrip() for line in added]
    return "\n".join(lines).strip()


def _git(folder: Path, *words: str, seconds: int) -> None:
    when = {"GIT_AUTHOR_DATE": f"@{seconds} +0000", "GIT_COMMITTER_DATE": f"@{seconds} +0000"}
    env = environment(folder, {**AUTHOR, **when, "HOME": os.devnull})
    subprocess.run(["git", "-C", str(folder), *words], env=env, check=True, capture_output=True)


def main() -> None:
    """The histories that the command line names, or all of them."""
    if len(sys.argv) < 2:
        sys.exit("usage: python benchmarks/histories/sdists.py OUT [NAME ...]")
    out, names = Path(sys.argv[1]), sys.argv[2:] or list(VERSIONS)
    for name in names:
        if name not in VERSIONS:
            sys.exit(f"{name}: no versions are named here; there are {', '.join(VERSIONS)}")
        if (out / name).exists():
            print(f"{out / name} is there already")
            continue
        history_of(name, VERSIONS[name], out / name)
        print(f"{out / name}: {len(VERSIONS[name])} versions")


if __name__ == "__main__":
    main()
