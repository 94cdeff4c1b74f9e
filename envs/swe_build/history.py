"""The git history that a box shows, and the proof that it tells nothing of the future.

"none" is the tree alone, in a new repository of one commit with the base's date and a neutral
author; "past" holds what is reachable from the base and no object more. Both are made by handing
over named objects to a new repository, never by cloning and deleting: a clone keeps what its refs
no longer name.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath

from munro.envs.swe_build.errors import BadRepository, Dropped
from munro.envs.swe_build.git import (
    EXECUTABLE,
    LINK,
    SUBMODULE,
    Repository,
    lines_of,
    walk,
)

BRANCH = "refs/heads/main"
AUTHOR = {
    "GIT_AUTHOR_NAME": "Author",
    "GIT_AUTHOR_EMAIL": "author@example.invalid",
    "GIT_COMMITTER_NAME": "Author",
    "GIT_COMMITTER_EMAIL": "author@example.invalid",
}
MOST_TREE_BYTES = 256 << 20
CONFIG = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n"
PLAIN_FILES = {"HEAD", "config", "index", BRANCH}
OBJECT_FOLDERS = ("objects/pack/", "objects/")


def write_tree(repository: Repository, revision: str, folder: Path) -> dict[str, bytes]:
    """Write a commit's files into an empty folder, as they are in its objects.

    No attribute of the repository leaves a file out or changes its line ends, as `git archive` and
    a checkout would. Submodules are left out: their commits are elsewhere.

    Returns:
        The plain files by path.

    Raises:
        Dropped: a link leads out of the tree, or the tree is too large.
    """
    tree = {
        path: entry for path, entry in repository.tree(revision).items() if entry.mode != SUBMODULE
    }
    blobs = repository.blobs(entry.oid for entry in tree.values())
    if sum(len(blobs[entry.oid]) for entry in tree.values()) > MOST_TREE_BYTES:
        raise Dropped("candidates", f"a tree over {MOST_TREE_BYTES >> 20} MiB")
    files = {}
    for path, entry in tree.items():
        contents = blobs[entry.oid]
        place = folder / path
        if ".git" in PurePosixPath(path.lower()).parts or not _is_inside(path):
            raise Dropped("candidates", "a path in the tree leads out of it")
        place.parent.mkdir(parents=True, exist_ok=True)
        if entry.mode == LINK:
            target = contents.decode(errors="surrogateescape")
            if not _is_inside(os.path.join(os.path.dirname(path), target)):
                raise Dropped("candidates", "a symbolic link leads out of the tree")
            place.symlink_to(target)
        else:
            place.write_bytes(contents)
            place.chmod(0o755 if entry.mode == EXECUTABLE else 0o644)
            files[path] = contents
    return files


def _is_inside(path: str) -> bool:
    """Whether a path that is relative to the tree's root stays below it."""
    if path.startswith("/") or "\0" in path:
        return False
    return not os.path.normpath(path).startswith("..")


def write_history(repository: Repository, revision: str, folder: Path, history: str) -> None:
    """Make `folder/.git`: the same bytes whenever it is made of the same commit by the same git.

    Args:
        history: "none" or "past".

    Raises:
        BadRepository: "past" of a shallow clone, whose past was cut off.
    """
    new = _Made(folder)
    new.begin()
    if history == "past":
        if repository.is_shallow:
            raise BadRepository(
                f"{repository.path} is a shallow clone: git fetch --unshallow, or --history none"
            )
        objects = repository.run("rev-list", "--objects", "--no-object-names", revision)
        new.take(_packed(repository, objects))
        commit = revision
    else:
        raw = repository.text("ls-tree", "-r", "-t", "--full-tree", "-z", revision)
        heads = [record.partition("\t")[0].split() for record in raw.split("\0") if record]
        root = repository.text("rev-parse", f"{revision}^{{tree}}").strip()
        oids = sorted({root, *(oid for _, kind, oid in heads if kind != "commit")})
        new.take(_packed(repository, lines_of(oids)))
        seconds = repository.text("show", "-s", "--format=%ct", revision).strip()
        commit = new.commit(root, int(seconds))
    new.point(commit)


def write_planted_history(folder: Path, seconds: int) -> None:
    """One commit of what lies in `folder` as it is, which no repository has: a made bug's tree."""
    new = _Made(folder)
    new.begin()
    new.point(new.commit(new.store(folder), seconds))


def _packed(repository: Repository, objects: bytes) -> bytes:
    """Whole objects, no delta of the source's reused: its own packing leaves no mark."""
    return repository.run(
        "pack-objects", "--stdout", "--window=0", "--no-reuse-delta", "--no-reuse-object", "-q",
        stdin=objects,
    )  # fmt: skip


class _Made:
    """A new repository beside a tree of files. All of it is written by us and git's plumbing."""

    def __init__(self, folder: Path) -> None:
        self._tree, self._git = folder, folder / ".git"

    def begin(self) -> None:
        """No template, no hook, no description: the least that git takes for a repository."""
        for name in ("objects/pack", "objects/info", "refs/heads"):
            (self._git / name).mkdir(parents=True)
        (self._git / "config").write_text(CONFIG)
        (self._git / "HEAD").write_text(f"ref: {BRANCH}\n")
        self._there = Repository(self._tree)

    def take(self, pack: bytes) -> None:
        """Objects of a pack; the pack's index is the only other file."""
        self._there.run("index-pack", "--stdin", "--no-rev-index", stdin=pack)

    def store(self, folder: Path) -> str:
        """Write files of a folder as loose objects; the id of their tree."""
        rows: dict[str, list[tuple[str, str, str]]] = {"": []}
        for path in walk(folder):
            name = path.relative_to(folder).as_posix()
            if name.split("/")[0] == ".git":
                continue
            is_link = path.is_symlink()
            contents = os.readlink(path).encode() if is_link else path.read_bytes()
            oid = self._there.text("hash-object", "-w", "--no-filters", "--stdin", stdin=contents)
            executable = not is_link and path.stat().st_mode & stat.S_IXUSR
            mode = LINK if is_link else (EXECUTABLE if executable else "100644")
            parent = name.rpartition("/")[0]
            rows.setdefault(parent, []).append((mode, oid.strip(), name.rpartition("/")[2]))
            while parent:
                parent = parent.rpartition("/")[0]
                rows.setdefault(parent, [])
        for parent in sorted(filter(None, rows), key=lambda one: -one.count("/")):
            above, _, name = parent.rpartition("/")
            rows[above].append(("040000", self._tree_of(rows[parent]), name))
        return self._tree_of(rows[""])

    def _tree_of(self, rows: list[tuple[str, str, str]]) -> str:
        kinds = {"040000": "tree"}
        lines = [f"{mode} {kinds.get(mode, 'blob')} {oid}\t{name}\0" for mode, oid, name in rows]
        packed = "".join(lines).encode(errors="surrogateescape")
        return self._there.text("mktree", "-z", stdin=packed).strip()

    def commit(self, tree: str, seconds: int) -> str:
        """The one commit, by nobody."""
        when = {"GIT_AUTHOR_DATE": f"@{seconds} +0000", "GIT_COMMITTER_DATE": f"@{seconds} +0000"}
        extra = {**AUTHOR, **when}
        return self._there.text("commit-tree", tree, "-m", "Base", extra=extra).strip()

    def point(self, commit: str) -> None:
        """The branch, and an index without the times and numbers of this disk."""
        (self._git / BRANCH).write_text(f"{commit}\n")
        self._there.run("read-tree", "HEAD")
        for path in walk(self._git):
            path.chmod(0o644)
        for name in ("objects/info", "objects/pack"):
            if not any((self._git / name).iterdir()):
                (self._git / name).rmdir()


def leftovers(folder: Path, allowed: frozenset[str]) -> list[str]:
    """What the `.git` of a box tells of the future, each in a line; none is the proof.

    Looked at: every object that is there, whether or not a ref leads to it; refs, logs, hooks,
    remotes, alternates, and every other file that git keeps.

    Args:
        folder: of the tree, its `.git` inside. Written by whoever scrubbed it: only read.
        allowed: ids of the commits that may be there, those reachable from the base.
    """
    git = folder / ".git"
    if not git.is_dir() or git.is_symlink():
        return ["no .git folder of its own"]
    found = []
    for path in walk(git):
        name = path.relative_to(git).as_posix()
        if path.is_symlink():
            found.append(f"a link in .git: {name}")
        elif name not in PLAIN_FILES and not _is_object_file(name):
            found.append(f"a file in .git that none needs: {name}")
    config = (git / "config").read_text(errors="replace") if (git / "config").is_file() else ""
    if config != CONFIG:
        found.append("settings in .git/config beside the plain ones")
    there = Repository(folder)
    refs = there.text("for-each-ref", "--format=%(refname)").split()
    if refs != [BRANCH]:
        found.append(f"refs beside one branch: {' '.join(refs) or 'none at all'}")
    return found + _objects_left(there, refs, allowed)


def _objects_left(there: Repository, refs: list[str], allowed: frozenset[str]) -> list[str]:
    """Objects that the base does not lead to: named first by kind, then counted."""
    raw = there.text(
        "cat-file",
        "--batch-all-objects",
        "--unordered",
        "--batch-check=%(objectname) %(objecttype)",
    )
    kinds = {oid: kind for oid, kind in map(str.split, raw.splitlines())}  # noqa: C416
    reachable: set[str] = set()
    if refs:
        listed = there.text("rev-list", "--objects", "--no-object-names", "HEAD")
        reachable = set(listed.split())
    commits = [oid for oid, kind in kinds.items() if kind == "commit"]
    found = []
    if outside := sorted(oid for oid in commits if oid not in allowed):
        found.append(f"{len(outside)} commits that the base does not lead to, as {outside[0]}")
    if tags := [oid for oid, kind in kinds.items() if kind == "tag"]:
        found.append(f"{len(tags)} tag objects")
    if others := [oid for oid in kinds if oid not in reachable and kinds[oid] in ("blob", "tree")]:
        found.append(f"{len(others)} files or folders of no commit that the base leads to")
    return found


def _is_object_file(name: str) -> bool:
    parts = name.split("/")
    if parts[:2] == ["objects", "pack"]:
        return len(parts) == 3 and parts[2].startswith("pack-") and name.endswith((".pack", ".idx"))
    return len(parts) == 3 and parts[0] == "objects" and len(parts[1]) == 2


def allowed_commits(
    repository: Repository, revision: str, folder: Path, history: str
) -> frozenset[str]:
    """Commits that a box of this base may hold, after `write_history`."""
    if history == "past":
        return frozenset(repository.text("rev-list", revision).split())
    there = Repository(folder)
    trees = [
        one.text("rev-parse", name)
        for one, name in ((there, "HEAD^{tree}"), (repository, f"{revision}^{{tree}}"))
    ]
    return frozenset({there.resolve("HEAD")} if trees[0] == trees[1] else ())
