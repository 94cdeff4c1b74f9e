"""Removed functions: a body goes, and signature, docstring and tests say what it must do."""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from munro.envs.swe.places import Places
from munro.envs.swe_build.git import Repository
from munro.envs.swe_build.made.bugs import MOST_TEST_FILES, code_files
from munro.envs.swe_build.mutate import functions_by_node, parsed
from munro.envs.swe_build.proposal import Proposal
from munro.envs.swe_build.related import related, test_files

LEAST_STATEMENTS = 3
MOST_LINES = 120
EMPTY = b"raise NotImplementedError"


@dataclass(frozen=True, slots=True)
class Removed:
    """A source without the body of one function."""

    name: str
    """"Class.method" or "function"."""
    signature: str
    docstring: str
    source: bytes


def removals(source: bytes) -> list[Removed]:
    """Every function of a source that is worth writing again, each removed alone."""
    tree = parsed(source)
    if tree is None:
        return []
    places, names = Places(source), functions_by_node(tree)
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        name = names[node]
        if name.startswith("_") or "._" in name or name.count(".") > 1:
            continue
        docstring = ast.get_docstring(node) or ""
        body = node.body[1:] if docstring else node.body
        size = sum(isinstance(part, ast.stmt) for one in body for part in ast.walk(one))
        lines = (node.end_lineno or node.lineno) - node.lineno
        if not body or size < LEAST_STATEMENTS or lines > MOST_LINES:
            continue
        if body[0].lineno == node.lineno:  # a body on its `def`'s own line
            continue
        start, end = places.start(body[0]), places.end(body[-1])
        changed = source[:start] + EMPTY + source[end:]
        if parsed(changed) is not None:
            head = source[places.start(node) : places.start(node.body[0])].decode(errors="replace")
            found.append(Removed(name, head.strip().removesuffix(":"), docstring, changed))
    return found


def propose_functions(
    repository: Repository, tree: Mapping[str, bytes], name: str, seed: int
) -> Iterator[Proposal]:
    """Functions that tests name, file by file in turn; the same ones each time."""
    rev = repository.resolve("HEAD")
    seconds = repository.commits("--max-count=1", rev)[0].seconds
    tested = b"\n".join(test_files(tree).values())
    queues = {}
    for path, contents in code_files(tree).items():
        wanted = [one for one in removals(contents) if _is_named(one, tested)]
        queues[path] = sorted(wanted, key=lambda one: _digest(f"{seed} {path} {one.name}"))
    while queues:
        for path in list(queues):
            if not queues[path]:
                del queues[path]
                continue
            one = queues[path].pop(0)
            tests = related([path], tree, MOST_TEST_FILES)
            yield Proposal(
                id=f"{name}-function-{_digest(f'{path} {one.name}')[:10]}",
                kind="function",
                rev=rev,
                seconds=seconds,
                planted={path: one.source},
                gold={path: tree[path]},
                tests={test: tree[test] for test in tests},
                message=f"Write the body of `{one.name}` in `{path}`:\n\n    {one.signature}",
                provenance={"base": rev, "function": one.name, "file": path},
            )


def _is_named(one: Removed, tested: bytes) -> bool:
    name = one.name.rpartition(".")[2].encode()
    return re.search(rb"\b" + re.escape(name) + rb"\b", tested) is not None


def _digest(words: str) -> str:
    return hashlib.sha256(words.encode(errors="surrogateescape")).hexdigest()
