"""The language of conditions: what it says, and that nothing hostile gets through it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from munro.envs.worlds.errors import BadWorld, Refused
from munro.envs.worlds.expression import evaluate, names, parse

KNOWN = {("a",): 3, ("b",): 4, ("day",): "2026-02-27", ("open",): True, ("o", "state"): "new"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a + b * 2", 11),
        ("(a + b) * 2", 14),
        ("a - b - 1", -2),
        ("day + 2", "2026-03-01"),
        ("day - 27", "2026-01-31"),
        ("a < b and not b <= a", True),
        ("a == 4 or open", True),
        ("not a == 3", False),
        ("o.state == 'new'", True),
        ("a != 'a'", True),
        ("day > '2026-01-01'", True),
    ],
)
def test_values(text, value):
    assert evaluate(parse(text), KNOWN.__getitem__) == value


@pytest.mark.parametrize(
    "text",
    ["", "a +", "(a", "a b", "__import__('os')", "a.b.", "1e9", "'open", "and", "A", "a ** b"],
)
def test_what_is_no_expression_is_said_in_one_line(text):
    with pytest.raises(BadWorld, match="expression"):
        parse(text)


@pytest.mark.parametrize("text", ["(" * 5000, "not " * 20000 + "open", "a+" * 300 + "a"])
def test_depth_and_length_are_bounded(text):
    with pytest.raises(BadWorld):
        parse(text)


@pytest.mark.parametrize(
    "text", ["a + 'x'", "day * 2", "'x' + 1", "open and a", "a < day", "open < open"]
)
def test_values_that_do_not_go_together_are_refused(text):
    with pytest.raises(Refused):
        evaluate(parse(text), KNOWN.__getitem__)


def test_numbers_do_not_grow_without_end():
    with pytest.raises(Refused, match="too large"):
        evaluate(parse("a * 999999999999"), KNOWN.__getitem__)
    with pytest.raises(Refused, match="calendar"):
        evaluate(parse("day + 99999999"), KNOWN.__getitem__)


def test_second_half_is_not_asked_where_the_first_decides():
    assert evaluate(parse("open or gone"), KNOWN.__getitem__) is True


@given(st.text(alphabet="ab.01 '<>=!+-*()notrdu", max_size=60))
def test_any_text_parses_or_is_refused(text):
    try:
        found = parse(text)
    except BadWorld:
        return
    assert all(name for path in names(found) for name in path)
