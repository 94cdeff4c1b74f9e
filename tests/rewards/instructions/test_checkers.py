"""Instructions that a program can check: each type, both modes, bad specs and hostile text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from munro.rewards.instructions import REGISTRY, checker, checkers
from munro.rewards.instructions.tongues import LANGUAGES, speaks
from munro.rewards.kinds import make
from tests.rewards.instructions import ifbench_cases

IFEVAL = [
    "keywords:existence",
    "keywords:frequency",
    "keywords:forbidden_words",
    "keywords:letter_frequency",
    "language:response_language",
    "length_constraints:number_sentences",
    "length_constraints:number_paragraphs",
    "length_constraints:number_words",
    "length_constraints:nth_paragraph_first_word",
    "detectable_content:number_placeholders",
    "detectable_content:postscript",
    "detectable_format:number_bullet_lists",
    "detectable_format:constrained_response",
    "detectable_format:number_highlighted_sections",
    "detectable_format:multiple_sections",
    "detectable_format:json_format",
    "detectable_format:title",
    "combination:two_responses",
    "combination:repeat_prompt",
    "startend:end_checker",
    "change_case:capital_word_frequency",
    "change_case:english_capital",
    "change_case:english_lowercase",
    "punctuation:no_comma",
    "startend:quotation",
]

CASES = [
    ("keywords:existence", {"keywords": ["Moss", "fern"]}, "moss and Fern", "moss alone"),
    ("keywords:frequency", {"keyword": "moss", "frequency": 2, "relation": "at least"},
     "moss, moss", "moss"),
    ("keywords:frequency", {"keyword": "moss", "frequency": 2, "relation": "less than"},
     "moss", "moss moss"),
    ("keywords:forbidden_words", {"forbidden_words": ["art"]}, "a party", "fine art"),
    ("keywords:letter_frequency",
     {"letter": "z", "let_frequency": 2, "let_relation": "at least"}, "Zz", "z"),
    ("keywords:word_once", {"keyword": "moss"}, "moss, mossy", "moss moss"),
    ("keywords:alliteration", {"letter": "b"}, "Big blue bears", "Big red bears"),
    ("language:response_language", {"language": "de"}, "Das ist nicht wahr.", "That is not true."),
    ("length_constraints:number_sentences", {"num_sentences": 2, "relation": "at least"},
     "One, e.g. this. Two.", "Dr. Who is one."),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "a\n***\nb", "a\n\nb"),
    ("length_constraints:number_words", {"num_words": 3, "relation": "less than"},
     "two words", "now three words"),
    ("length_constraints:nth_paragraph_first_word",
     {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "moss"}, "a\n\nMoss, b", "moss\n\nb"),
    ("length_constraints:number_characters", {"num_characters": 3}, " abc ", "abcd"),
    ("length_constraints:number_lines", {"num_lines": 2}, "a\n\nb", "a"),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[a] [b]", "[a] b"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "a\nP. S. b", "a ps b"),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "a\np.p.s b", "a\nP.S. b"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* a\n- b", "* a\n** b"),
    ("detectable_format:constrained_response", {}, "My answer is no.", "No."),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2},
     "*a* **b**", "*a* ** **"),
    ("detectable_format:multiple_sections", {"section_spliter": "Part", "num_sections": 2},
     "Part 1 a Part 2 b", "Part 1 a Part b"),
    ("detectable_format:json_format", {}, '```json\n{"a": 1}\n```', "{a: 1}"),
    ("detectable_format:title", {}, "<<moss>>\nb", "<< >>\nb"),
    ("detectable_format:numbered_steps", {"num_steps": 2}, "1. a\n2. b", "1. a\n3. b"),
    ("combination:two_responses", {}, "a ****** b", "a ****** a"),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Why?"}, "why? Because.", "Because. Why?"),
    ("startend:end_checker", {"end_phrase": "The end."}, 'a. the end."', "The end. a"),
    ("startend:start_checker", {"start_phrase": "Well"}, "well, a", "a, well"),
    ("startend:quotation", {}, ' "a" ', '"a'),
    ("change_case:capital_word_frequency",
     {"capital_frequency": 2, "capital_relation": "at least"}, "A BIG dog", "A big dog"),
    ("change_case:english_capital", {}, "ALL OF IT", "All OF IT"),
    ("change_case:english_lowercase", {}, "all of it", "das ist nicht alles"),
    ("punctuation:no_comma", {}, "a; b", "a, b"),
    ("sequence:order", {"phrases": ["first", "then"]}, "First a then b", "then a, first b"),
    ("sequence:repeat", {"phrase": "ok go", "times": 2}, "ok go OK go", "ok go ok go ok go"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "kwargs", "good", "bad"), CASES)
def test_each_instruction_tells_what_follows_it_from_what_does_not(name, kwargs, good, bad):
    each = checker({"id": name, "kwargs": kwargs})
    assert each.follows(good)
    assert not each.follows(bad)
    assert "{" not in each.sentence()
    assert not each.follows("")


def test_all_types_of_ifeval_are_there_and_every_type_is_tried():
    assert len(IFEVAL) == 25
    assert set(IFEVAL) <= set(REGISTRY)
    others = {case[0] for case in ifbench_cases.CASES}
    assert {case[0] for case in CASES} | others == set(REGISTRY)


def test_the_loose_mode_forgives_an_outer_line_and_asterisks():
    lower = checker({"id": "change_case:english_lowercase"})
    assert not lower.follows("Sure!\nall of it")
    assert lower.follows("Sure!\nall of it", loose=True)
    end = checker({"id": "startend:end_checker", "kwargs": {"end_phrase": "done"}})
    assert end.follows("all is **done**\nAnything else?", loose=True)
    assert not lower.follows("ONE\nTWO\nTHREE", loose=True)


def test_instructions_combine():
    comma = {"id": "punctuation:no_comma"}
    moss = {"id": "keywords:existence", "kwargs": {"keywords": ["moss"]}}
    assert checker({"all": [comma, moss]}).follows("moss")
    assert not checker({"all": [comma, moss]}).follows("moss, fern")
    assert checker({"any": [comma, moss]}).follows("moss, fern")
    assert checker({"not": {"any": [moss, {"not": comma}]}}).follows("fern")
    assert "moss" in checker({"not": moss}).sentence()


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"id": "keyword:existence"}, r"Did you mean 'keywords:existence'\?"),
        ({"id": "no_comma"}, r"Did you mean 'punctuation:no_comma'\?"),
        ({"id": "keywords:existence", "kwargs": {"keyword": ["a"]}}, "Did you mean 'keywords'"),
        ({"id": "keywords:existence"}, "needs the argument 'keywords'"),
        ({"id": "keywords:existence", "kwargs": {"keywords": "a"}}, "must be a list of texts"),
        ({"id": "keywords:existence", "kwargs": {"keywords": []}}, "not empty"),
        ({"id": "punctuation:no_comma", "kwargs": {"x": 1}}, "It takes none"),
        ({"id": "detectable_format:title", "kwargs": 3}, "must be a table"),
        ({"id": "length_constraints:number_words", "kwargs": {"num_words": 2.5}}, "whole number"),
        ({"id": "length_constraints:number_words", "kwargs": {"num_words": -1}}, "not negative"),
        ({"id": "length_constraints:number_words",
          "kwargs": {"num_words": 1, "relation": "more than"}}, r"Did you mean 'less than'\?"),
        ({"al": []}, "unknown key 'al'"),
        ({"any": []}, "give a list of instructions"),
        ({"any": [{"id": "punctuation:no_comma"}], "id": "x"}, "stands alone"),
        ("x", "give a table"),
    ],
)  # fmt: skip
def test_a_spec_that_is_none_is_refused_with_the_nearest_name(spec, sentence):
    with pytest.raises(ValueError, match=sentence):
        checker(spec)


def test_a_spec_nested_too_deep_is_refused():
    spec = {"id": "punctuation:no_comma"}
    for _ in range(50):
        spec = {"not": spec}
    with pytest.raises(ValueError, match="nested more than"):
        checker(spec)


def test_published_rows_with_empty_arguments_of_other_instructions_are_read():
    (each,) = checkers(
        ["length_constraints:number_words"],
        [{"num_words": 2.0, "relation": "at least", "keywords": None, "language": None}],
    )
    assert each.follows("two words")
    with pytest.raises(ValueError, match="1 instructions, but 0 kwargs"):
        checkers(["punctuation:no_comma"], [])


HOSTILE = [
    "[" * 200_000,
    "<<" * 100_000,
    "*" * 200_000,
    "<<a" * 70_000,
    "p. " * 70_000,
    "\n" * 200_000 + "x",
    "******" * 30_000,
    "{" * 100_000,
    "[" * 100_000 + "]" * 100_000,
    ". " * 100_000,
    "a'" * 100_000,
    "x" * 2_000_000,
    "\ud800\udfff\x00" * 1000,
    "9" * 100_000 + ". ",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.timeout(600)
def test_no_response_hangs_or_breaks_a_check(text):
    for name, kwargs, _, _ in CASES:
        assert checker({"id": name, "kwargs": kwargs}).follows(text, loose=True) in (True, False)


@given(st.text())
def test_any_text_has_an_answer_and_its_negation_the_other(text):
    for name, kwargs, _, _ in CASES:
        spec = {"id": name, "kwargs": kwargs}
        if text.strip():
            assert checker(spec).follows(text) != checker({"not": spec}).follows(text)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("El gato está en la casa y no quiere salir", "es"),
        ("これは日本語です。", "ja"),
        ("Это не так просто, как кажется", "ru"),
        ("Це не так просто, але ми можемо", "uk"),
        ("यह बहुत अच्छा है", "hi"),
        ("این کتاب را به او می دهم", "fa"),
        ("the cat", "en"),
    ],
)
def test_the_language_of_a_text_is_told_by_script_and_pieces_of_words(text, language):
    assert speaks(text, language)
    assert sum(speaks(text, other) for other in LANGUAGES) <= 5


def test_a_text_without_letters_is_in_no_language_but_english():
    assert [code for code in sorted(LANGUAGES) if speaks("42", code)] == ["en"]


def test_the_grader_pays_the_share_followed_and_passes_what_follows_all():
    item = {
        "response": "moss, fern",
        "instructions": [
            {"id": "punctuation:no_comma"},
            {"id": "keywords:existence", "kwargs": {"keywords": ["moss"]}},
        ],
    }
    with make("instructions") as share, make("instructions", score="all") as strict:
        grade = share.grade(item)
        assert (grade.reward, grade.passed) == (0.5, False)
        assert grade.parts == {"punctuation:no_comma": 0.0, "keywords:existence": 1.0}
        assert "punctuation:no_comma" in grade.reason
        assert strict.grade(item).reward == 0.0
        with pytest.raises(ValueError, match="there are no instructions"):
            share.grade({"response": "a"})
    with pytest.raises(ValueError, match="Did you mean 'punctuation:no_comma'"):
        make("instructions", instructions=[{"id": "punctuation:no_coma"}])
