"""Gold calls, which the package writes as Python, read without evaluating anything.

sort('final_report.pdf')   ->   ("sort", {"file_name": "final_report.pdf"})
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any


def call_of(text: str, parameters: Mapping[str, Sequence[str]]) -> tuple[str, dict[str, Any]]:
    """A tool's name and its arguments by name.

    Args:
        text: one call with literal arguments.
        parameters: by tool, the names of its parameters in their order.

    Raises:
        ValueError: it is no such call.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"{text!r:.80} is no call") from error
    if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name):
        raise ValueError(f"{text!r:.80} is no call of a tool")
    name = tree.func.id
    known = parameters.get(name, ())
    if len(tree.args) > len(known) or any(word.arg is None for word in tree.keywords):
        raise ValueError(f"{text!r:.80} has arguments that nobody knows the names of")
    given = [*zip(known, tree.args, strict=False)]
    given += [(str(word.arg), word.value) for word in tree.keywords]
    return name, {word: ast.literal_eval(value) for word, value in given}
