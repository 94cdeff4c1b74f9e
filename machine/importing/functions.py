"""Reward functions out of a training script, into a file of their own that can be imported.

To import the script itself would train; so a function is copied with what it refers to: imports,
constants, other functions and classes at the top of the script.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable

from munro.machine.importing.script import Script

HEAD = '"""Reward functions taken out of {name}, as they stand there."""\n\n'
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def definitions(script: Script) -> dict[str, ast.stmt]:
    """Statements at the top of a script, by the names that they define."""
    found: dict[str, ast.stmt] = {}
    for node in script.tree.body:
        for name in _defined(node):
            found[name] = node
    return found


def taken_out(script: Script, names: Iterable[str]) -> str:
    """The text of a file with these functions and all that they refer to, in the script's order."""
    known = definitions(script)
    wanted, open_names = set[int](), list(names)
    seen = set(open_names)
    while open_names:
        statement = known.get(open_names.pop())
        if statement is None:
            continue
        wanted.add(script.tree.body.index(statement))
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and node.id not in seen and node.id in known:
                seen.add(node.id)
                open_names.append(node.id)
    pieces, last = [HEAD.format(name=script.file.name)], None
    for number in sorted(wanted):
        statement = script.tree.body[number]
        apart = isinstance(statement, Definition) or isinstance(last, Definition)
        pieces += ["\n\n" if apart and last is not None else "", _text(script, statement), "\n"]
        last = statement
    return "".join(pieces)


def lacking(script: Script, names: Iterable[str]) -> list[str]:
    """Names that the functions use and that nothing at the top of the script defines."""
    source = ast.parse(taken_out(script, names))
    used = {node.id for node in ast.walk(source) if isinstance(node, ast.Name)}
    bound = {
        node.id
        for node in ast.walk(source)
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)
    }
    bound |= {node.arg for node in ast.walk(source) if isinstance(node, ast.arg)}
    bound |= {name for node in ast.walk(source) for name in _defined(node)}
    bound |= {node.name or "" for node in ast.walk(source) if isinstance(node, ast.ExceptHandler)}
    return sorted(used - bound - set(vars(builtins)))


def _defined(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [(one.asname or one.name).partition(".")[0] for one in node.names]
    if isinstance(node, Definition):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else []
    if isinstance(node, ast.AnnAssign):
        targets = [node.target]
    return [one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)]


def _text(script: Script, statement: ast.stmt) -> str:
    lines = script.text.split("\n")
    decorators = getattr(statement, "decorator_list", [])
    first = min([statement.lineno, *(one.lineno for one in decorators)])
    return "\n".join(lines[first - 1 : statement.end_lineno])
