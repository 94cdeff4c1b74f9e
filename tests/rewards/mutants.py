"""Small mistakes put into good programs, by their syntax trees, and which of them change anything.

`judge` is the oracle: it knows nothing of `munro.rewards.code`. It runs original and mutant in a
plain subprocess, on the inputs that the problem's own check uses, and runs that check on the
mutant.
"""

from __future__ import annotations

import ast
import copy
import json
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ORACLE = Path(__file__).with_name("mutant_oracle.py")

ARITHMETIC = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.FloorDiv,
}
COMPARISONS = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
KINDS = ("operator", "comparison", "and/or", "off by one", "negated", "return None", "exit(0)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A program with one mistake."""

    problem: str
    kind: str
    line: int
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the oracle says of a mutant."""

    changes_output: bool
    """On an input of the check it returns something else, raises, ends the process or hangs."""
    fails_check: bool
    """The check, run beside it in one namespace, does not come to its end."""


def mutants(problem: str, source: str, entry_point: str, most: int) -> list[Mutant]:
    """Up to `most` mutants of each kind, the same ones at every call."""
    found: dict[str, list[Mutant]] = {kind: [] for kind in KINDS}
    original = ast.unparse(ast.parse(source))
    for kind, line, tree in _all(ast.parse(source), entry_point):
        text = ast.unparse(ast.fix_missing_locations(tree))
        if text != original:
            found[kind].append(Mutant(problem=problem, kind=kind, line=line, source=text))
    draw = random.Random(problem)
    return [
        each for kind in KINDS for each in draw.sample(found[kind], min(most, len(found[kind])))
    ]


def _all(tree: ast.Module, entry_point: str) -> Iterator[tuple[str, int, ast.Module]]:
    """Every mistake that can be made once, as kind, line and tree."""
    places = [
        (number, node)
        for number, node in enumerate(ast.walk(tree))
        if any(node in ast.walk(each) for each in _functions(tree, entry_point))
    ]
    for number, node in places:
        for kind, change in _changes(node):
            mutated = copy.deepcopy(tree)
            target = list(ast.walk(mutated))[number]
            for field, value in change.items():
                setattr(target, field, value)
            yield kind, getattr(node, "lineno", 0), mutated
    mutated = copy.deepcopy(tree)
    function = _functions(mutated, entry_point)[0]
    function.body[:0] = ast.parse("import sys\nsys.exit(0)").body
    yield "exit(0)", function.lineno, mutated


def _functions(tree: ast.Module, entry_point: str) -> list[ast.FunctionDef]:
    return [
        node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == entry_point
    ][-1:]


def _changes(node: ast.AST) -> Iterator[tuple[str, dict[str, object]]]:
    """Kinds of mistake at one node, each as the fields to set."""
    match node:
        case ast.BinOp(op=op) | ast.AugAssign(op=op) if type(op) in ARITHMETIC:
            yield "operator", {"op": ARITHMETIC[type(op)]()}
        case ast.Compare(ops=[op, *rest]) if type(op) in COMPARISONS:
            yield "comparison", {"ops": [COMPARISONS[type(op)](), *rest]}
        case ast.BoolOp(op=ast.And()):
            yield "and/or", {"op": ast.Or()}
        case ast.BoolOp(op=ast.Or()):
            yield "and/or", {"op": ast.And()}
        case ast.Constant(value=int(value)) if not isinstance(value, bool):
            yield "off by one", {"value": value + 1}
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            yield "negated", {"test": ast.UnaryOp(op=ast.Not(), operand=test)}
        case ast.Return(value=ast.expr()):
            yield "return None", {"value": ast.Constant(value=None)}


def judge(problem: Mapping[str, str], sources: Sequence[str]) -> list[Verdict]:
    """What each mutant of a problem does, in a plain subprocess of its own."""
    job = {
        "original": problem["prompt"] + problem["canonical_solution"],
        "check": problem["test"],
        "entry_point": problem["entry_point"],
        "mutants": list(sources),
    }
    done = subprocess.run(
        [sys.executable, "-I", str(ORACLE)],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        check=True,
    )
    return [Verdict(**each) for each in json.loads(done.stdout)]
