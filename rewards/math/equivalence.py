"""Are two answers the same mathematics? Runs inside a killable child, for
`munro.rewards.math.verifier`.

Math-Verify does the work, and only its grammar-based half. Its other half, `ExprExtractionConfig`,
reads plain text with SymPy's `parse_expr`, which ends in Python's `eval`; it is not used at all
(`munro.rewards.math.plain` writes plain text as LaTeX first). Within the LaTeX half SymPy still
evaluates a little text of its own making (`Number("12")` becomes the source `Integer (12 )`).
`prepare` lets exactly that through and refuses any other code at the moment SymPy's reader would
run it. A check during which something was refused ends in PermissionError, whatever the libraries
made of it.

Math-Verify's "equal" is believed only where `munro.rewards.math.proof` confirms it, and where no
words of one side were dropped on the way: what cannot be confirmed is `unsure`.

Time and memory are the parent's affair: nothing here is bounded, and Math-Verify's own time-outs,
which need the main thread and Python signals, are switched off.
"""

from __future__ import annotations

import logging
import re
import sys
from functools import lru_cache
from itertools import product
from types import CodeType
from typing import Any

import math_verify
from math_verify import grader
from math_verify.parser import LatexExtractionConfig

from munro.rewards.math.plain import to_latex
from munro.rewards.math.proof import confirms

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
WORDS = re.compile(
    r"\\(?:text|mbox|textbf|textrm|mathrm)\s*\{([^{}]*)\}|([\u3400-\u9fff]+)"
    r"|(?<![\\A-Za-z{])([A-Za-z]{4,})(?![A-Za-z(])"
)
ABOUT = re.compile(r"\\approx|\u2248")
SINGLE_LETTER = re.compile(r"(?<![\\A-Za-z])[A-Za-z](?![A-Za-z])")
LISTING = frozenset(("and", "or", ",", "或", "和"))
LETTER_I = re.compile(r"(?<![\\A-Za-z])I(?![A-Za-z_])")  # else the imaginary unit
A_LETTER = r"\\Upsilon_{9}"
GAMMA = re.compile(r"\\gamma(?=\s*(?:\^|\())")  # else the function
GAMMA_IS_A_LETTER = r"\\Upsilon_{8}"
EXTRACTION = [LatexExtractionConfig(boxed_match_priority=0, try_extract_without_anchor=False)]


def prepare() -> None:
    """Warm SymPy up, then close the door to `eval` behind it."""
    logging.disable(logging.CRITICAL)
    for answer, gold in WARM_UP:
        check(answer, gold)
    parse_gold.cache_clear()
    sys.addaudithook(_refuse_evaluation)


def check(answer: str, gold: str) -> str:
    """`equal`, `different`, `unsure`, `unreadable` (the answer) or `bad gold`."""
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
    if not _is_mathematics(answers):
        return "unreadable"
    opinions = [
        confirms(mine, other)
        for mine, other in product(golds, answers)
        if math_verify.verify(mine, other, timeout_seconds=None, allow_set_relation_comp=True)
    ]
    is_all_read = not any(map(_drops_some, (gold, answer))) and _letters_agree(gold, answer)
    is_read = any(map(grader.is_relation, golds)) and any(map(grader.is_relation, answers))
    if "=" in gold and "=" in answer and not is_read:
        is_all_read = False  # of an equation that it cannot read, it reads the last side
    if not is_all_read or (None in opinions and True not in opinions):
        return "unsure"
    return "equal" if True in opinions else "different"


def _drops_some(text: str) -> bool:
    """Whether Math-Verify will leave out words (but for those that make a list) or roundings."""
    inside = " ".join("".join(match) for match in WORDS.findall(text)).split()
    return ABOUT.search(text) is not None or any(
        word.lower() not in LISTING and len(word) > 1 for word in inside
    )


def _letters_agree(gold: str, answer: str) -> bool:
    """Math-Verify makes capitals small: not where that is all the difference."""
    mine, others = (set(SINGLE_LETTER.findall(to_latex(each))) for each in (gold, answer))
    swapped = {each.swapcase() for each in mine ^ others}
    return not swapped & (mine | others)


def _parse(text: str) -> list[Any]:
    # dollar signs would end the box early: a price is a number, and mathematics is in the box
    plain = LETTER_I.sub(A_LETTER, to_latex(text).replace("$", ""))
    boxed = rf"\boxed{{{GAMMA.sub(GAMMA_IS_A_LETTER, plain)}}}"
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
