"""What each feature finds, by hand, and what it leaves alone."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from munro.evaluation.thoughts.lists import pattern, words
from munro.evaluation.thoughts.report import ORDER, features_of
from munro.evaluation.thoughts.types import FEATURES, BadThoughts, Rows, mark, matched
from munro.rewards.plugins import BadPlugin


def rows(*texts, prompt="Add them.", calls=()):
    count = len(texts)
    return Rows(
        step=np.ones(count, np.int64),
        group=np.arange(count),
        text=list(texts),
        tokens=np.arange(count, dtype=float),
        calls=[calls] * count,
        prompt=[prompt] * count,
        task=["t"] * count,
    )


def of(name, *texts, **more):
    return FEATURES.find(name)().values(rows(*texts, **more)).tolist()


@pytest.mark.parametrize(
    ("name", "text", "count"),
    [
        ("checks_itself", "Wait, that's wrong. Let me  double-check.", 3),
        ("checks_itself", "The waiter waits at 5.", 0),
        ("checks_itself", "let me\nverify", 1),
        ("checks_itself", "that\u2019s not right", 1),
        ("approaches", "Alternatively, another way: approach 2.", 3),
        ("approaches", "an alternative", 0),
        ("small_cases", "For n = 1 it holds; the base case.", 2),
        ("small_cases", "for n = 10", 0),
        ("tested", "The grader wants this. Am I being tested?", 2),
        ("tested", "run the tests in test_sum.py", 0),
        ("languages", "Das ist nicht, was ich habe, und wir werden eine finden", 8),
        ("languages", "It is 7 by the formula x = 3.", 0),
        ("languages", "所以答案是七", 3),
        ("repetition", "one two three. " * 30, pytest.approx(1, abs=0.05)),
        ("repetition", "all of this is said once", 0),
    ],
)
def test_what_is_found_in_a_text(name, text, count):
    (found,) = of(name, text)
    if name == "languages" and count:
        assert found > 0
    else:
        assert found == count


WORK = " and then we add the next one to it" * 5


@pytest.mark.parametrize(
    ("text", "prompt", "is_first"),
    [
        (f"It is 42.{WORK} so <answer>42</answer>", "Add.", 1),
        (f"It is 42.{WORK} so \\boxed{{42}}", "Add.", 1),
        (f"It is 42.{WORK} 42", "Add.", 1),
        (f"It is 41.{WORK} so <answer>42</answer>", "Add.", 0),
        (f"It is 142.{WORK} so <answer>42</answer>", "Add.", 0),
        (f"We have 42.{WORK} so <answer>42</answer>", "Is 42 even?", 0),
        (f"We have.{WORK} so <answer>{'x' * 60}</answer>", "Add.", None),
        ("<answer>42</answer>", "Add.", None),
        (f"No number.{WORK}", "Add.", None),
    ],
)
def test_an_answer_before_the_work(text, prompt, is_first):
    (found,) = of("answer_first", text, prompt=prompt)
    assert math.isnan(found) if is_first is None else found == is_first


@pytest.mark.parametrize(
    ("calls", "before"),
    [
        ((("read", "{}"), ("list", "{}"), ("edit_file", "{}")), 2),
        ((("shell", '{"cmd": "ls"}'), ("shell", '{"cmd": "sed -i s/a/b/ x"}')), 1),
        ((("WRITE_FILE", "{}"),), 0),
        ((("read", "{}"),), None),
        ((), None),
    ],
)
def test_calls_before_the_first_edit(calls, before):
    (found,) = of("calls_before_edit", "x", calls=calls)
    assert math.isnan(found) if before is None else found == before


def test_every_feature_of_ours_has_its_place_and_says_what_it_is():
    found = features_of()
    assert list(found) == list(ORDER)
    for feature in found.values():
        assert feature.title
        assert feature.told.endswith(".")
    with pytest.raises(BadPlugin, match="There is no feature of thoughts 'wit'"):
        FEATURES.find("wit")


@pytest.mark.parametrize("name", ["checks_itself", "approaches", "small_cases", "tested"])
def test_every_phrase_of_a_list_is_found(name):
    for phrase in words(name):
        (found,) = of(name, f"(so: {phrase.upper()}, {phrase})")
        assert found >= 2, phrase
        assert re.search(pattern([phrase]), f"and {phrase}!")


def test_where_it_stands_in_characters():
    assert matched(r"(?i)\bwait\b", "ünd: Wait") == (5, 9)
    assert matched(r"(a)(b)?", "xxab") == (2, 4)
    assert matched("z", "xx") is None


def test_a_mark_of_ones_own():
    name, feature = mark(r"columns=\d\+\d(\+\d)?=\d")
    assert name == feature.title == "columns"
    assert feature.values(rows("2+4=06 5+7+0=12", "1194")).tolist() == [2, 0]
    for wrong, why in [
        ("columns", "write NAME=PATTERN"),
        ("=x", "write NAME=PATTERN"),
        ("a=(", "is no pattern of RE2"),
        (r"a=(?=x)", "is no pattern of RE2"),
    ]:
        with pytest.raises(BadThoughts, match=why):
            mark(wrong)


def test_a_pattern_that_would_take_forever_elsewhere_does_not():
    _, feature = mark("loop=(a+)+$")
    text = "a" * 100_000 + "b"
    assert feature.values(rows(text)).tolist() == [0]
    assert matched(feature.pattern, text) is None
