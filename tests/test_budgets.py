"""One idea, one short file; one thought, one short function; a folder one can take in."""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

import pytest

from munro.rewards.plugins import ROOMS

ROOT = Path(__file__).parents[1]
FILE_LINES = 450
FUNCTION_LINES = 60
FOLDER_FILES = 22

CODE = [
    path.relative_to(ROOT)
    for room in (*ROOMS, "benchmarks")
    for path in sorted((ROOT / room).rglob("*.py"))
]
TESTS = [path.relative_to(ROOT) for path in sorted((ROOT / "tests").rglob("*.py"))]

NOT_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def code_lines(source: str) -> set[int]:
    """Numbers of the lines that hold code: neither blank, nor comment, nor docstring."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NOT_CODE:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def long_functions(source: str) -> dict[str, int]:
    lines = code_lines(source)
    sizes = {
        f"{node.name}, line {node.lineno}": len(
            lines & set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        )
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    return {name: size for name, size in sizes.items() if size > FUNCTION_LINES}


@pytest.mark.parametrize("path", CODE + TESTS, ids=str)
def test_files_are_short(path: Path) -> None:
    assert len((ROOT / path).read_text().splitlines()) <= FILE_LINES


@pytest.mark.parametrize("path", CODE, ids=str)
def test_functions_are_short(path: Path) -> None:
    assert long_functions((ROOT / path).read_text()) == {}


FOLDERS = sorted({path.parent for path in CODE + TESTS})


@pytest.mark.parametrize("folder", FOLDERS, ids=str)
def test_folders_show_about_twenty_files(folder: Path) -> None:
    assert sum(path.is_file() for path in (ROOT / folder).iterdir()) <= FOLDER_FILES


def test_docstrings_comments_and_blanks_are_not_counted() -> None:
    source = 'def f():\n    """One\n    two."""\n\n    # why\n    return (\n        1\n    )\n'
    assert code_lines(source) == {1, 6, 7, 8}


def test_a_function_over_the_budget_is_named() -> None:
    source = "def f():\n" + "    x = 1\n" * FUNCTION_LINES
    assert long_functions(source) == {"f, line 1": FUNCTION_LINES + 1}
