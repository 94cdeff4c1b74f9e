"""What functions return beside plain data: numbers of other kinds, dates, views, iterators."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import count, islice
from typing import Any

import pytest

from munro.rewards.code import Call, Check, CodeGrader
from munro.rewards.code.compare import same_value
from munro.rewards.code.encoding import MOST_ITEMS, NotPlain, dumps, encode, loads
from munro.rewards.config import RewardsConfig, SandboxConfig

VALUES: list[Any] = [
    Decimal("3.50"),
    Decimal("-1E+30"),
    Fraction(22, 7),
    Fraction(-(10**60), 7),
    range(3),
    range(10, -5, -3),
    1 + 2j,
    bytearray(b"ab"),
    date(2024, 2, 29),
    time(10, 30, 0, 5),
    datetime(2024, 2, 29, 10, 30),
    datetime(2024, 2, 29, 10, 30, tzinfo=UTC),
    timedelta(days=-1, seconds=5, microseconds=7),
    {"a": 1, "b": 2}.keys(),
    {"a": 1, "b": [2]}.items(),
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_it_comes_back_as_it_was(value) -> None:
    back = loads(dumps(value))
    assert (back, type(back)) == (value, type(value))
    assert same_value(encode(value), encode(value))


@pytest.mark.parametrize("make", [
    lambda: map(str, [1, 2]), lambda: zip("ab", "cd", strict=True), lambda: (x for x in [1, 2]),
    lambda: iter([1, 2]), lambda: enumerate("ab"), lambda: reversed([1, 2]),
    lambda: {1: 2}.values(), lambda: islice(count(), 3), lambda: iter({1: 2}),
])  # fmt: skip
def test_an_iterator_gives_the_same_items(make) -> None:
    assert list(loads(dumps(make()))) == list(make())


def test_an_endless_iterator_gives_its_first_items_and_then_says_so() -> None:
    back = loads(dumps(count()))
    assert list(islice(back, MOST_ITEMS)) == list(range(MOST_ITEMS))
    with pytest.raises(NotPlain, match="more than 10,000 items"):
        next(back)


LINES = [
    '{"decimal": "x"}', '{"decimal": 3}', '{"fraction": ["0x1", "0x0"]}', '{"fraction": ["1"]}',
    '{"range": ["0x1", "0x2", "0x0"]}', '{"range": 3}', '{"date": "tomorrow"}', '{"date": []}',
    '{"timedelta": [9e99, 0, 0]}', '{"complex": [[], 1]}', '{"bytearray": "0"}',
    '{"keys": [[]]}', '{"items": [1]}', '{"iterator": 3}',
]  # fmt: skip


@pytest.mark.parametrize("line", LINES)
def test_a_line_that_nobody_encoded_is_refused(line: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each says something else
        loads(line)


COMPARED = [
    (Decimal("3.50"), 3.5, True),
    (Decimal("3.5"), 4, False),
    (Fraction(1, 2), 0.5, True),
    (Fraction(1, 3), 1 / 3, False),
    (Decimal(3), 3, True),
    (Fraction(3), "3", False),
    (range(3), [0, 1, 2], False),
    ({"a": 1}.keys(), {"a"}, True),
    ({"a": 1}.keys(), ["a"], False),
    (date(2024, 1, 1), "2024-01-01", False),
    (Decimal("NaN"), 1, False),
]


@pytest.mark.parametrize(("returned", "expected", "same"), COMPARED, ids=repr)
def test_values_are_compared_as_python_compares_them(returned, expected, same) -> None:
    assert same_value(encode(returned), encode(expected)) is same


@pytest.mark.timeout(300)
@pytest.mark.parametrize("node", [
    {"decimal": "1E+999999999"}, {"decimal": "9" * 1_000_000}, {"decimal": "1E999999999999"},
    {"fraction": ["0x" + "f" * 1_000_000, "0x" + "e" * 999_999]}, {"fraction": ["1", "0"]},
])  # fmt: skip
def test_no_number_takes_long_to_compare(node) -> None:
    assert not same_value(node, 2)
    assert not same_value(node, 2.5, 1e-6)


PROGRAMS = [
    ("from decimal import Decimal\ndef f(): return Decimal('0.1') + Decimal('0.2')",
     "from decimal import Decimal\nassert f() == Decimal('0.3')"),
    ("from fractions import Fraction\ndef f(a): return a / 3",
     "from fractions import Fraction\nassert f(Fraction(1, 2)) == Fraction(1, 6)"),
    ("def f(n): return range(n)", "assert list(f(3)) == [0, 1, 2] and f(3) == range(3)"),
    ("def f(x): return map(abs, x)", "assert list(f([-1, 2])) == [1, 2]"),
    ("def f(d): return d.keys()", "assert f({'a': 1}) == {'a'}"),
    ("def f(d): return d.items()", "assert sorted(f({'a': 1})) == [('a', 1)]"),
    ("def f():\n    yield 1\n    yield 2", "assert [x for x in f()] == [1, 2]"),
    ("from itertools import count\ndef f(): return count(5)", "assert next(f()) == 5"),
    ("from datetime import *\ndef f(d): return d + timedelta(days=1)",
     "from datetime import date\nassert f(date(2024, 2, 28)) == date(2024, 2, 29)"),
]  # fmt: skip


@pytest.fixture(scope="module")
def grader() -> Iterator[CodeGrader]:
    with CodeGrader(RewardsConfig(sandbox=SandboxConfig(cpu_s=5, wall_s=60))) as grader:
        yield grader


@pytest.mark.parametrize(("program", "source"), PROGRAMS, ids=range(len(PROGRAMS)))
def test_a_function_may_return_it(grader: CodeGrader, program: str, source: str) -> None:
    grade = grader.run_tests(program, [Check(source=source)])
    assert grade.passed, grade.reason
    wrong = "def f(*args): return iter([7])" if "next" in source else "def f(*args): return 7"
    assert not grader.run_tests(wrong, [Check(source=source)]).passed


def test_a_lying_subclass_crosses_as_its_base(grader: CodeGrader) -> None:
    lie = (
        "from decimal import Decimal\nclass Any(Decimal):\n    __eq__ = lambda s, o: True\n"
        "    __hash__ = lambda s: 0\n    __str__ = lambda s: '3'\ndef f(): return Any(0)"
    )
    grade = grader.run_tests(lie, [Check(source="from decimal import Decimal\nassert f() == 4")])
    assert not grade.passed
    assert not grader.run_tests(lie, [Call(function="f", expected=4)]).passed


def test_a_call_takes_no_iterator() -> None:
    with pytest.raises(ValueError, match="can be read but once"):
        Call(function="f", args=(iter([1]),))
