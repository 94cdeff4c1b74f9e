"""Of tests that must go on passing, those that are nearest to a fix: a suite has too many."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence

from munro.envs.swe.twins import bare
from munro.envs.swe_build.mutate import parsed
from munro.envs.swe_build.proposal import Contents

Function = ast.FunctionDef | ast.AsyncFunctionDef


def nearest(
    tests: Collection[str],
    gold: Contents,
    before: Mapping[str, bytes],
    files: Mapping[str, bytes],
    paths: Sequence[str],
    most: int,
) -> list[str]:
    """At most so many tests: those that use a changed function, then a sample, file after file.

    Nothing that differs from run to run decides, so that the same tests are chosen each time.

    Args:
        tests: ids.
        gold: code after the fix.
        before: every file before it.
        files: test files by path.
        paths: of test files, those that matter most first.
    """
    changed = changed_names(gold, before)
    uses = {path: dict(used_by_tests(files[path])) for path in paths if path in files}

    def rank(test: str) -> tuple[bool, int, bytes]:
        path, _, name = bare(test).partition("::")
        is_far = changed.isdisjoint(uses.get(path, {}).get(name, ()))
        place = paths.index(path) if path in paths else len(paths)
        return is_far, place, hashlib.sha256(test.encode()).digest()

    return sorted(tests, key=rank)[:most]


def changed_names(gold: Contents, before: Mapping[str, bytes]) -> set[str]:
    """Functions and methods that a fix makes, changes or takes away, without their classes."""
    found = set()
    for path, new in gold.items():
        if path.endswith(".py"):
            old = set(_functions(before.get(path, b"")))
            found |= {name for name, _ in old ^ set(_functions(new or b""))}
    return found


def _functions(source: bytes) -> Iterator[tuple[str, str]]:
    tree = parsed(source)
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, Function):
            yield node.name, ast.dump(node)


def used_by_tests(source: bytes) -> Iterator[tuple[str, set[str]]]:
    """(test without parameters and file, names that it uses) for each function of a test file."""
    tree = parsed(source)
    yield from _used(tree.body if tree else [], "")


def _used(body: Sequence[ast.stmt], within: str) -> Iterator[tuple[str, set[str]]]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from _used(node.body, f"{within}{node.name}::")
        elif isinstance(node, Function):
            names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
            names |= {part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)}
            yield f"{within}{node.name}", names
