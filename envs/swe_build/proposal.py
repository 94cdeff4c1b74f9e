"""A task as it is proposed, before anything ran: where the box begins, the fix, the hidden tests.

Pull requests, made bugs and removed functions are all proposals, and go one way from here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

Contents = Mapping[str, bytes | None]
"""What files hold, by their path below the repository; None where a file is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """One task that may come to be.

    Example:
        Proposal(id="boltons-8a2a93d8", kind="merge", rev="5df2...", seconds=1700000000,
                 gold={"boltons/a.py": b"..."}, tests={"tests/test_a.py": b"..."})
    """

    id: str
    """Of the task and its folder; the same whenever it is made from the same repository."""
    kind: str
    """"merge", "squash", "pull request", "bug" or "function"."""
    rev: str
    """Id of the commit whose tree the box begins with."""
    seconds: int
    """Date of that commit, since 1970: what the box may know of packages is no younger."""
    planted: Contents = field(default_factory=dict)
    """Written over that tree before the box begins: a made bug. Empty for a pull request."""
    gold: Contents
    """Code files after the fix."""
    tests: Contents
    """Files of the hidden tests, and what they need beside them."""
    message: str = ""
    """What was written about the fix: of a person, for a statement to be made from."""
    provenance: Mapping[str, str] = field(default_factory=dict)

    def digest(self) -> str:
        """Of the fix itself: the same patch on two branches is one task. Hex."""
        seen = hashlib.sha256()
        for side in (self.planted, self.gold, self.tests):
            for path, contents in sorted(side.items()):
                seen.update(f"{path!r} {contents is None} {len(contents or b'')}\n".encode())
                seen.update(contents or b"")
            seen.update(b"\0")
        return seen.hexdigest()


def over(tree: Mapping[str, bytes], *changes: Contents) -> dict[str, bytes]:
    """A tree's files with changes written over it, one after the other."""
    files = dict(tree)
    for change in changes:
        for path, contents in change.items():
            if contents is None:
                files.pop(path, None)
            else:
                files[path] = contents
    return files
