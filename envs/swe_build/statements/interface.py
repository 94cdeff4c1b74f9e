"""Names that hidden tests ask for and nobody could guess: their signatures, for the statement."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping

from munro.envs.swe_build.mutate import parsed
from munro.envs.swe_build.proposal import Proposal

LEAST_LETTERS = 2
WORD = re.compile(rb"[A-Za-z_][A-Za-z0-9_]*")


def interface_of(proposal: Proposal, before: Mapping[str, bytes], statement: str) -> list[str]:
    """Signatures that the fix makes, the tests use, and neither base nor statement has.

    Returns:
        Lines such as "boltons/strutils.py: def ellipsize(text, width)", by file and place.
    """
    known = {name for contents in before.values() for name in WORD.findall(contents)}
    asked = {name for new in proposal.tests.values() if new for name in identifiers(new)}
    told = set(WORD.findall(statement.encode(errors="replace")))
    found = []
    for path, new in sorted(proposal.gold.items()):
        if new is None or not path.endswith(".py"):
            continue
        for name, line in made_in(new):
            if name in asked and name.encode() not in known | told:
                found.append(f"{path}: {line}")
    return list(dict.fromkeys(found))


def identifiers(source: bytes) -> set[str]:
    """Names, attributes and keywords that a source uses."""
    tree = parsed(source)
    found = set()
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.keyword) and node.arg:
            found.add(node.arg)
        elif isinstance(node, ast.alias):
            found.update(node.name.split("."))
    return {name for name in found if len(name) >= LEAST_LETTERS}


def made_in(source: bytes) -> Iterator[tuple[str, str]]:
    """(name, signature) of functions, classes, their methods, parameters and constants."""
    tree = parsed(source)
    yield from _made(tree.body if tree else [], "")


def _made(body: list[ast.stmt], within: str) -> Iterator[tuple[str, str]]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            word = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
            returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
            line = f"{word} {within}{node.name}({ast.unparse(node.args)}){returns}"
            yield node.name, line
            for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
                yield argument.arg, line
        elif isinstance(node, ast.ClassDef):
            bases = ", ".join(map(ast.unparse, node.bases))
            yield node.name, f"class {within}{node.name}({bases})"
            yield from _made(node.body, f"{within}{node.name}.")
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Name):
                    yield target.id, f"{within}{target.id}"
        elif isinstance(node, ast.If | ast.Try):
            yield from _made(node.body, within)
