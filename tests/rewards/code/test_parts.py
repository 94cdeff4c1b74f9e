"""What needs no sandbox: programs in replies, outputs and values compared, plain data, tables."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from munro.rewards.code.compare import same_output, same_value
from munro.rewards.code.encoding import MAX_DEPTH, NotPlain, dumps, encode, loads, parse
from munro.rewards.code.extract import completed, extract
from munro.rewards.code.languages import LANGUAGES, language_of, missing
from munro.rewards.code.tests_as_data import Call, Case, Check, from_data

REPLIES = [
    ("```python\nx = 1\n```", "python", "x = 1\n"),
    ("first\n```python\nx = 1\n```\nbetter\n```py\nx = 2\n```\nDone.", "python", "x = 2\n"),
    ("```python\nx = 1\n```\nRun it:\n```bash\npython x.py\n```", "python", "x = 1\n"),
    ("```\nx = 1\n```", "python", "x = 1\n"),
    ("```\nwrong\n```\n```python\nx = 1\n```\n```\noutput\n```", "python", "x = 1\n"),
    ("```cpp\nint main() {}\n```", "python", "```cpp\nint main() {}\n```"),
    ("```C++\nint main() {}\n```", "cpp", "int main() {}\n"),
    ("```{.python .numberLines}\nx = 1\n```", "python", "x = 1\n"),
    ("~~~js\nlet x\n~~~", "javascript", "let x\n"),
    ("````python\ns = '''\n```\n'''\n````", "python", "s = '''\n```\n'''\n"),
    ("1. so:\n   ```python\n   if x:\n       y\n   ```", "python", "if x:\n    y\n"),
    ("```python\nx = 1", "python", "x = 1"),
    ("x = 1", "python", "x = 1"),
    ("<think>\n```python\nx = 1\n```\n</think>\n```python\nx = 2\n```", "python", "x = 2\n"),
    ("<think>\n```python\nx = 1\n```", "python", ""),
    ("", "python", ""),
]


@pytest.mark.parametrize(("reply", "language", "program"), REPLIES)
def test_the_program_is_found(reply: str, language: str, program: str) -> None:
    assert extract(reply, language) == program


@given(st.text(alphabet="`~\n pyx=1 ", max_size=200))
def test_any_reply_holds_some_program_of_its_own_text(reply: str) -> None:
    assert len(extract(reply)) <= len(reply)


BODIES = [
    "    y = x\n    return y\n",
    "y = x\nreturn y\n",
    "y = x\n    return y\n",
    "if x:\n        y = x\n    return x\n",
    "if x:\n    y = x\nreturn x\n",
    "\tif x:\n\t\ty = x\n\treturn x\n",
    "def f(x):\n    return x\n",
    "import math\n\ndef f(x):\n    return x\n",
]


@pytest.mark.parametrize("body", BODIES)
def test_a_starter_is_completed_by_a_body_or_a_function(body: str) -> None:
    space: dict[str, Any] = {}
    exec(completed('import sys\n\ndef f(x):\n    """Return x."""\n', body, "f"), space)
    assert space["f"](7) == 7
    assert "sys" in space


OUTPUTS = [  # written, expected, how, whether they are the same
    (b"1 2\n", b"1 2\n", "exact", True),
    (b"1 2", b"1 2\n", "exact", False),
    (b" 1   2 \r\n\n\n", b"1 2", "whitespace", True),
    (b"1\n2", b"1 2", "whitespace", False),
    (b"1\n\n2", b"1\n2", "whitespace", False),
    (b"", b"\n\n", "whitespace", True),
    (b"", b"0", "whitespace", False),
    (b"1.0", b"1", "whitespace", False),
    (b"1.0", b"1", "float", True),
    (b"0.333333", b"0.3333333333", "float", True),
    (b"0.3333", b"0.3333333333", "float", False),
    (b"1000000008", b"1000000007", "float", False),
    (b"1000000008.0", b"1000000007", "float", False),
    (b"1000000.5", b"1000000.0", "float", True),
    (b"1e400", b"1.5", "float", False),
    (b"nan", b"1.5", "float", False),
    (b"NaN", b"nan", "float", False),
    (b"nan", b"nan", "float", True),
    (b"1_0", b"10", "float", False),
    (b"YES 1.50", b"YES 1.5", "float", True),
    (b"\xff\x00", b"\xff\x00", "whitespace", True),
    (b"9" * 100_000, b"9", "float", False),
]


@pytest.mark.parametrize(("written", "expected", "how", "same"), OUTPUTS)
def test_outputs_are_compared_as_the_test_says(written, expected, how, same) -> None:
    assert same_output(written, expected, how, 1e-6) is same


VALUES = [  # returned, expected, tolerance, whether they are the same
    (3, 3, 0, True),
    (3, 3.0, 0, True),
    (True, 1, 0, True),
    (3, "3", 0, False),
    (None, False, 0, False),
    ((1, [2]), [1, (2,)], 0, True),
    ([1, 2], [2, 1], 0, False),
    ({1, 2}, {2, 1}, 0, True),
    ({1, 2}, frozenset({1, 2}), 0, True),
    ({1, 2}, [1, 2], 0, False),
    ({"a": [1], "b": 2.0}, {"b": 2, "a": (1,)}, 0, True),
    ({"a": 1}, {"a": 1, "b": 1}, 0, False),
    ({1: "a"}, {"1": "a"}, 0, False),
    (0.1 + 0.2, 0.3, 0, False),
    (0.1 + 0.2, 0.3, 1e-9, True),
    (math.nan, math.nan, 0, True),
    (math.nan, 1.0, 1, False),
    (math.inf, math.inf, 0, True),
    (math.inf, 1e308, 1, False),
    (-math.inf, math.inf, 1, False),
    (2**70, 2**70, 0, True),
    (2**70, 2**70 + 1, 0, False),
    (10**400, 1.0, 1, False),
    (b"ab", b"ab", 0, True),
    (b"ab", "ab", 0, False),
]


@pytest.mark.parametrize(("returned", "expected", "tolerance", "same"), VALUES)
def test_values_are_compared_as_python_compares_them(returned, expected, tolerance, same) -> None:
    assert same_value(encode(returned), encode(expected), tolerance) is same


atoms = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**200), 2**200)
    | st.floats(allow_nan=False)
    | st.text()
    | st.characters(categories=["Cs"])
    | st.binary()
)
keys = atoms | st.tuples(atoms, atoms) | st.frozensets(atoms, max_size=3)
plain = st.recursive(
    atoms | st.sets(keys, max_size=3) | st.frozensets(keys, max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(keys, inner, max_size=4)
    ),
    max_leaves=10,
)


@given(plain)
@example(float("-0.0"))
@example({"tuple": [1]})
@example([{"int": "ff"}, {"dict": []}])
def test_plain_data_comes_back_as_it_was(value: Any) -> None:
    line = dumps(value)
    back = loads(line)
    assert "\n" not in line
    assert (back, type(back)) == (value, type(value))
    assert repr(back) == repr(value) or isinstance(value, set | frozenset | dict | list | tuple)
    assert same_value(parse(line), encode(value))


LINES = [
    "",
    "[1",
    "NaN",
    "[Infinity]",
    "[" * 100_000,
    "[" * (MAX_DEPTH + 5) + "]" * (MAX_DEPTH + 5),
    "9" * 5000,
    '{"int": 3}',
    '{"int": "zz"}',
    '{"float": []}',
    '{"bytes": "0"}',
    '{"set": [[]]}',
    '{"dict": [[[], 1]]}',
    '{"dict": [[1]]}',
    '{"dict": 3}',
    '{"tuple": [], "list": []}',
    '{"object": []}',
    "{}",
]


@pytest.mark.parametrize("line", LINES)
def test_a_line_that_nobody_encoded_is_refused(line: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each says something else
        loads(line)


def test_only_plain_data_crosses_and_subclasses_cross_as_their_base() -> None:
    from collections import Counter, namedtuple
    from enum import IntEnum

    colour = IntEnum("colour", "RED")
    point = namedtuple("point", "x y")
    values = [Counter("aa"), point(1, 2), colour.RED, True]
    back = loads(dumps(values))
    assert back == [{"a": 2}, (1, 2), 1, True]
    assert [type(each) for each in back] == [dict, tuple, int, bool]
    for value in (object(), len, type, NotPlain, io.StringIO("a")):
        with pytest.raises(NotPlain, match=type(value).__name__):
            dumps([value])


ROWS = [
    ({"stdin": "1", "stdout": "2"}, Case(stdin="1", stdout="2")),
    ({"stdout": "2", "compare": "float", "tolerance": 1}, None),
    ({"function": "f", "args": [1], "expected": None}, Call(function="f", args=[1])),
    ({"function": "A.f", "expected": 2, "kwargs": {"x": 1}}, None),
    ({"source": "assert f(1)", "stdin": None}, None),
    ({"source": "check", "entry_points": ["f"]}, Check(source="check", entry_points=("f",))),
]


@pytest.mark.parametrize(("row", "test"), ROWS[:4] + ROWS[5:])
def test_tests_are_read_from_json(row: dict[str, Any], test: object) -> None:
    (made,) = from_data(json.loads(json.dumps([row])))
    assert test is None or made == test


BAD_ROWS = [
    ([], "cannot be graded"),
    ("x", "give a list of objects"),
    ([3], "test 1 is no object"),
    ([{"stdout": "1"}, {"input": "1"}], "test 2 has none of stdin, stdout, checker"),
    ([{"stdout": "1", "stdn": "1"}], r"test 1 \(Case\) has no field 'stdn'.*stdin"),
    ([{"stdout": 1}], "test 1: stdout = 1: must be str or bytes"),
    ([{"stdout": "1", "compare": "fuzzy"}], "write 'exact' or 'whitespace' or 'float'"),
    ([{"stdout": "1", "tolerance": -1}], "give a number of 0 or more"),
    ([{"stdout": "\ud800"}], "half a surrogate pair"),
    ([{"stdout": "", "checker": "def"}], "the checker is no Python"),
    ([{"function": "f()", "args": []}], "write a name, or Class.method"),
    ([{"function": "f", "args": 3}], "args = 3: must be list or tuple"),
    ([{"source": "assert (", "entry_points": ["f"]}], "the test source is no Python"),
    ([{"source": "assert 1 == 1"}], "calls no function of the program: give entry_points"),
]


@pytest.mark.parametrize(("rows", "sentence"), BAD_ROWS)
def test_a_bad_test_is_named_in_a_sentence(rows: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        from_data(rows)


def test_the_functions_that_asserts_call_are_found() -> None:
    source = (
        "import math as m\ndef helper(x): return x\nassert add(helper(1), m.pi) == max(2, [3][0])"
    )
    assert Check(source=source).names == ("add",)
    assert Check(source="assert a(b(1))").names == ("a", "b")


def test_seventeen_languages_are_told_apart_by_name_file_and_fence() -> None:
    assert len(LANGUAGES) == 17
    assert len({language.file for language in LANGUAGES.values()}) == 17
    assert sum(len(language.fences) for language in LANGUAGES.values()) == len(
        set().union(*(language.fences for language in LANGUAGES.values()))
    )
    for language in LANGUAGES.values():
        commands = {language.run[0], *(language.compile or ())[:1]} - {"./main"}
        assert commands <= set(language.needs)
        assert missing(language, lambda program: False) == list(language.needs)
        assert language.file in (*(language.compile or ()), *language.run) or language.compile


@pytest.mark.parametrize(
    ("name", "found"), [("cpp", "cpp"), ("C++", "cpp"), ("js", "javascript"), ("C#", "csharp")]
)
def test_a_language_answers_to_its_names(name: str, found: str) -> None:
    assert language_of(name).name == found


def test_an_unknown_language_gets_the_nearest_name() -> None:
    with pytest.raises(ValueError, match=r"'pyhton'.*did you mean 'python'"):
        language_of("pyhton")
    with pytest.raises(ValueError, match="there are python, c, cpp"):
        language_of("brainfuck")
