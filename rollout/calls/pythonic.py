"""[name(key=value), ...] as the whole turn, or a line each in <function_calls>: Llama 4, Olmo 3.

A call is Python only to look at: names, literals, lists and tables of them. Anything else is turned
away before Python's parser sees it, so that nothing deep or clever reaches that, and nothing is
ever evaluated.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from keyword import iskeyword
from typing import Any

from munro.envs.types import Message, ToolCall
from munro.rollout.calls import Family, Tools, call, given, unreadable

MOST_CHARACTERS, MOST_DEPTH = 100_000, 32
BLOCK = re.compile(r"(?<!`)<function_calls>(.*?)(</function_calls>|(?=<function_calls>)|\Z)", re.S)
TAGS = re.compile(r"<\|python_(?:start|end)\|>")
LOOKS_LIKE_ONE = re.compile(r"\[\s*([A-Za-z_][\w.]{0,200})\(")
TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|(?P<number>\d[\w.]*(?:(?<=[eE])[+-]\d+)?)"""
    r"""|(?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*){0,8})|(?P<mark>[()\[\]{},:=-]))""",
    re.S,
)
CONSTANTS = {"true": True, "false": False, "null": None}


class Pythonic(Family):
    """Arguments are given by name."""

    name = "pythonic"
    signs = (r"<function_calls></function_calls>|\[func_?name1?\(|<\|python_start\|>",)
    form = "[NAME(KEY=VALUE, ...)], with nothing else in the turn"

    def parse(self, text: str, tools: Tools) -> list[ToolCall]:
        """See `Family.parse`; a list of things that no tool is called like is an answer."""
        blocks = [(match[1], bool(match[2])) for match in BLOCK.finditer(text)]
        if not blocks:
            whole = TAGS.sub("", text).strip()
            if not (first := LOOKS_LIKE_ONE.match(whole)):
                return []
            calls = self._calls(whole)
            names = [tool.get("function", tool).get("name") for tool in tools]
            return calls if first[1] in names or not any(one.error for one in calls) else []
        return [
            one
            for block, closed in blocks
            for one in (
                self._calls(_in_brackets(block))
                if closed
                else [unreadable("the calls are not closed: </function_calls> is missing")]
            )
        ]

    def written(self, calls: Sequence[ToolCall]) -> str:
        """See `Family.written`."""
        each = (
            f"{one.name}({', '.join(f'{key}={value!r}' for key, value in given(one).items())})"
            for one in calls
        )
        return f"[{', '.join(each)}]"

    def turn(self, message: Message) -> str:
        """See `Family.turn`; only in its tags may calls follow a text."""
        calls = self.written(message.tool_calls)
        in_tags = f"<function_calls>{calls}</function_calls>" if message.content else calls
        return super().turn(message).removesuffix(calls) + in_tags

    def said(self, spoken: str, calls: Sequence[ToolCall]) -> str:
        """See `Family.said`."""
        if not calls:
            return spoken
        return BLOCK.sub("", spoken) if BLOCK.search(spoken) else ""

    def _calls(self, text: str) -> list[ToolCall]:
        """The calls of a list of them; one that says why where it is none."""
        if len(text) > MOST_CHARACTERS:
            return [unreadable(f"more than {MOST_CHARACTERS} characters in the calls of one turn")]
        if wrong := _not_literal(text):
            return [unreadable(f"{wrong}; a call is written {self.form}")]
        try:
            tree = ast.parse(text, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            return [
                unreadable(
                    f"the call cannot be read ({str(error)[:100]}); it is written {self.form}"
                )
            ]
        if not isinstance(tree, ast.List) or not tree.elts:
            return [unreadable(f"a call is written {self.form}")]
        return [self._call(one) for one in tree.elts]

    def _call(self, tree: ast.expr) -> ToolCall:
        if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name | ast.Attribute):
            return unreadable(f"a call is written {self.form}")
        names = [keyword.arg for keyword in tree.keywords]
        if tree.args or None in names or len({*names}) < len(names):
            return unreadable(f"arguments are given by name, once; a call is written {self.form}")
        try:
            arguments = {str(each.arg): _value(each.value) for each in tree.keywords}
            return call(ast.unparse(tree.func), arguments, self.form)
        except (ValueError, TypeError) as error:
            return unreadable(f"{error}; a call is written {self.form}")


def _in_brackets(block: str) -> str:
    """Calls a line each as the list of them; a list stays as it is."""
    lines = [line.strip().rstrip(",") for line in block.splitlines() if line.strip()]
    text = ",\n".join(lines)
    return text if text.startswith("[") else f"[{text}]"


def _not_literal(text: str) -> str:
    """What in a text is neither a call nor a literal; empty where there is nothing of the kind."""
    text = text.rstrip()
    at, depth, before = 0, 0, ""
    while at < len(text):
        match = TOKEN.match(text, at)
        if match is None:
            return f"{text[at : at + 20].strip()!r} cannot stand in a call"
        at, kind = match.end(), str(match.lastgroup)
        token = match[kind]
        if not _may_follow(token, kind, before):
            return f"{token[:20]!r} cannot stand where it does"
        if kind == "mark":
            depth += (token in "([{") - (token in ")]}")
        if depth > MOST_DEPTH:
            return f"more than {MOST_DEPTH} brackets in one another"
        before = token if kind == "mark" else kind
    return ""


def _may_follow(token: str, kind: str, before: str) -> bool:
    """Whether a literal goes on like this: no operator, no word of the language, no `f()()`."""
    if kind != "mark":
        is_word = kind == "name" and iskeyword(token) and token not in ("True", "False", "None")
        return before not in ("name", "number", "text") and not is_word
    if token == "-":
        return before in ("(", "[", "{", ",", ":", "=")
    if token == "(":
        return before not in (")", "]", "}", "text", "number")
    return token not in "[{" or before not in (")", "]", "}", "name", "text", "number")


def _value(tree: ast.expr) -> Any:
    """A literal's value.

    Raises:
        ValueError: it is none that JSON has.
    """
    match tree:
        case ast.Constant(value=str() | int() | float() | None as value):
            return value
        case ast.Name(id=name) if name in CONSTANTS:
            return CONSTANTS[name]
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_value(item) for item in items]
        case ast.Dict(keys=keys, values=values) if all(
            isinstance(key, ast.Constant) and isinstance(key.value, str) for key in keys
        ):
            return {
                str(getattr(key, "value", "")): _value(value)
                for key, value in zip(keys, values, strict=True)
            }
    raise ValueError("a value is a text, a number, True, False, None, a list or a table of those")
