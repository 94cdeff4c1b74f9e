"""Made bugs: a repository's newest tree with one or two places wrong, for its own tests to find."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

from munro.envs.swe_build.git import Repository
from munro.envs.swe_build.mine import is_text
from munro.envs.swe_build.mutate import Mutation, mutations, with_all
from munro.envs.swe_build.proposal import Proposal
from munro.envs.swe_build.related import related
from munro.envs.swe_build.split import Side, is_generated, packages_in, side

MOST_TEST_FILES = 4
EVERY_COMBINED = 5
"""Of so many bugs, one is wrong in two functions of its file."""


def code_files(tree: Mapping[str, bytes]) -> dict[str, bytes]:
    """Python that a bug may be made in: code with tests that mention it, written by people."""
    packages = packages_in(tree)
    return {
        path: contents
        for path, contents in sorted(tree.items())
        if side(path, packages) is Side.CODE
        and path.endswith(".py")
        and is_text(contents)
        and not is_generated(path, contents)
        and related([path], tree, 1)
    }


def propose_bugs(
    repository: Repository, tree: Mapping[str, bytes], name: str, seed: int
) -> Iterator[Proposal]:
    """Bugs without end, as far as places reach: files and kinds in turn, the same ones each time.

    Args:
        repository: whose newest commit is mutated.
        tree: the files of that commit.
        name: that ids of tasks begin with.
        seed: another one gives other bugs.
    """
    rev = repository.resolve("HEAD")
    seconds = repository.commits("--max-count=1", rev)[0].seconds
    places = {path: mutations(contents) for path, contents in code_files(tree).items()}
    queues = {path: _in_turn(path, found, seed) for path, found in places.items()}
    number = 0
    while queues:
        for path in list(queues):
            if not queues[path]:
                del queues[path]
                continue
            one = queues[path].pop(0)
            number += 1
            kinds, source = one.kind, one.source
            if number % EVERY_COMBINED == 0 and (second := _second(one, places[path], path, seed)):
                kinds, source = f"{one.kind} and {second.kind}", with_all(tree[path], [one, second])
            tests = related([path], tree, MOST_TEST_FILES)
            yield Proposal(
                id=f"{name}-bug-{_digest(path, source)[:10]}",
                kind="bug",
                rev=rev,
                seconds=seconds,
                planted={path: source},
                gold={path: tree[path]},
                tests={test: tree[test] for test in tests},
                provenance={"base": rev, "made": kinds, "function": one.function, "file": path},
            )


def _in_turn(path: str, found: list[Mutation], seed: int) -> list[Mutation]:
    """One of each kind in turn, each kind in an order of its own."""
    by_kind: dict[str, list[Mutation]] = {}
    for one in sorted(found, key=lambda one: _digest(f"{seed} {path}", one.source)):
        by_kind.setdefault(one.kind, []).append(one)
    turns: list[Mutation] = []
    while any(by_kind.values()):
        turns += [queue.pop(0) for queue in by_kind.values() if queue]
    return turns


def _second(first: Mutation, found: list[Mutation], path: str, seed: int) -> Mutation | None:
    """Another place of the same file, in another function: no two of those lie in each other."""
    others = [one for one in found if one.function not in ("", first.function)]
    key = f"{seed} {path} {first.place} {first.kind}"
    return min(others, key=lambda one: _digest(key, one.source), default=None)


def _digest(words: str, contents: bytes) -> str:
    return hashlib.sha256(words.encode(errors="surrogateescape") + b"\0" + contents).hexdigest()
