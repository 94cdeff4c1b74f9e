"""Are two answers the same mathematics? Runs inside a killable child, for
`munro.rewards.math.verifier`.

Math-Verify does the work, and only its grammar-based half. Its other half, `ExprExtractionConfig`,
reads plain text with SymPy's `parse_expr`, which ends in Python's `eval`; it is not used at all
(`munro.rewards.math.plain` writes plain text as LaTeX first). Within the LaTeX half SymPy still
evaluates a little text of its own making (`Number("12")` becomes the source `Integer (12 )`).
`prepare` lets exactly that through and refuses any other code at the moment SymPy's reader would
run it. A check during which something was refused ends in PermissionError, whatever the libraries
made of it.

Time and memory are the parent's affair: nothing here is bounded, and Math-Verify's own time-outs,
which need the main thread and Python signals, are switched off.
"""

from __future__ import annotations

import logging
import sys
from functools import lru_cache
from types import CodeType
from typing import Any

import math_verify
from math_verify.parser import LatexExtractionConfig

from munro.rewards.math.plain import to_latex

# what SymPy's reader runs before each text, and the only names that its rewriting of a number uses
SETUP = compile("from sympy import *", "<string>", "exec")
HARMLESS_NAMES = frozenset({"Integer", "Float", "Rational", "Symbol", "E", "I", "pi", "oo", "zoo"})
_refused: list[str] = []
WARM_UP = (
    ("5", "2+3"),
    ("x+1", "1+x"),
    (r"\frac{1}{2}", "0.5"),
    (r"\sqrt{8}", r"2\sqrt{2}"),
    ("(1,2)", "(1,2)"),
    (r"\{1,2\}", r"\{2,1\}"),
    ("x=3", "3"),
    ("x<3", "3>x"),
    ("10^{20}", "10^{20}"),
)
"""Checked once, in the process that children are forked from: what grammar and algebra look up at
the first expression of a kind (20 to 100 ms of CPU each) is then there in every child."""
EXTRACTION = [LatexExtractionConfig(boxed_match_priority=0, try_extract_without_anchor=False)]


def prepare() -> None:
    """Warm SymPy up, then close the door to `eval` behind it."""
    logging.disable(logging.CRITICAL)
    for answer, gold in WARM_UP:
        check(answer, gold)
    parse_gold.cache_clear()
    sys.addaudithook(_refuse_evaluation)


def check(answer: str, gold: str) -> str:
    """`equal`, `different`, `unreadable` (the answer) or `bad gold`."""
    _refused.clear()
    verdict = _verdict(answer, gold)
    if _refused:
        raise PermissionError(f"text is not evaluated here: {_refused[0]}")
    return verdict


def _verdict(answer: str, gold: str) -> str:
    golds = parse_gold(gold)
    if not _is_mathematics(golds):
        return "bad gold"
    answers = _parse(answer)
    if math_verify.verify(golds, answers, timeout_seconds=None, allow_set_relation_comp=True):
        return "equal"
    return "different" if _is_mathematics(answers) else "unreadable"


def _parse(text: str) -> list[Any]:
    # dollar signs would end the box early: a price is a number, and mathematics is in the box
    boxed = rf"\boxed{{{to_latex(text).replace('$', '')}}}"
    parsed: list[Any] = math_verify.parse(boxed, EXTRACTION, parsing_timeout=None)
    return parsed


@lru_cache(maxsize=64)
def parse_gold(gold: str) -> list[Any]:
    """A group asks about one gold many times: it is parsed once."""
    return _parse(gold)


def _is_mathematics(parsed: list[Any]) -> bool:
    return any(not isinstance(each, str) for each in parsed)


def _refuse_evaluation(event: str, args: tuple[Any, ...]) -> None:
    if event != "exec" or not isinstance(args[0], CodeType):
        return
    if sys._getframe(1).f_globals.get("__name__") != "sympy.parsing.sympy_parser":
        return
    code = args[0]
    if (code.co_code, code.co_names) == (SETUP.co_code, SETUP.co_names):
        return
    if set(code.co_names) - HARMLESS_NAMES or any(
        isinstance(const, CodeType) for const in code.co_consts
    ):
        _refused.append(f"names {sorted(code.co_names)}")
        raise PermissionError("text is not evaluated here")
