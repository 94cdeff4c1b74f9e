"""Where the nodes of a syntax tree stand in the source that they were parsed from."""

from __future__ import annotations

import ast


class Places:
    """Byte offsets of a tree's nodes in the source they were parsed from."""

    def __init__(self, source: bytes) -> None:
        self._starts = [0]
        for line in source.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self._mark = 3 if source.startswith(b"\xef\xbb\xbf") else 0

    def start(self, node: ast.AST) -> int:
        """Where a node begins."""
        return self._at(node.lineno, node.col_offset)  # type: ignore[attr-defined]

    def end(self, node: ast.AST) -> int:
        """Just behind a node."""
        return self._at(node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]

    def _at(self, line: int, column: int) -> int:
        return self._starts[line - 1] + column + (self._mark if line == 1 else 0)
