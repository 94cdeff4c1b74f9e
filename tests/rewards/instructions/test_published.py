"""Verdicts that others reached: the published checkers of IFEval, and people who reported faults.

`published.jsonl` holds texts put together at random and what the checkers of lm-eval 0.4.13 say of
them (strict mode, langdetect seeded, sentences by NLTK's Punkt): [type, arguments, text, follows].
Where ours differ by intention is in `DIFFERENT`.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from munro.rewards.instructions import REGISTRY, checker
from munro.rewards.instructions.tongues import LANGUAGES, speaks

HERE = Path(__file__).parent
PUBLISHED, REPORTED = (
    [json.loads(line) for line in (HERE / name).read_text(encoding="utf-8").splitlines()]
    for name in ("published.jsonl", "reported.jsonl")
)
TYPES = sorted({row[0] for row in PUBLISHED})


@pytest.mark.parametrize("name", TYPES)
def test_a_check_agrees_with_the_published_one(name):
    rows = [row[1:] for row in PUBLISHED if row[0] == name]
    assert {verdict for _, _, verdict in rows} == {True, False}
    wrong = [
        (kwargs, text, verdict)
        for kwargs, text, verdict in rows
        if checker({"id": name, "kwargs": kwargs}).follows(text) != verdict
    ]
    assert wrong == []


def test_all_types_of_ifeval_are_compared():
    assert len(TYPES) == 25
    assert set(TYPES) <= set(REGISTRY)
    assert len(PUBLISHED) > 900


@pytest.mark.parametrize(("spec", "reply", "follows"), REPORTED, ids=range(len(REPORTED)))
def test_a_reported_reply_gets_the_right_verdict(spec, reply, follows):
    assert checker(spec).follows(reply) is follows


DIFFERENT = [
    # a name is no pattern
    ({"id": "keywords:frequency", "kwargs": {"keyword": "c++", "frequency": 1}}, "ccc", False),
    # one sentence, with a quotation in it; Punkt makes two of it
    ({"id": "length_constraints:number_sentences",
      "kwargs": {"num_sentences": 2, "relation": "at least"}}, '"Stop!" she said.', False),
    # full stops of Chinese end sentences
    ({"id": "length_constraints:number_sentences",
      "kwargs": {"num_sentences": 2, "relation": "at least"}}, "今天很好。我们去。", True),
    # a text without a language is in none; langdetect lets it pass for each
    ({"id": "language:response_language", "kwargs": {"language": "de"}}, "42.", False),
    # capitals of other languages are no English
    ({"id": "change_case:english_capital"}, "EL RÍO PASA JUNTO AL VIEJO MOLINO.", False),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "reply", "follows"), DIFFERENT, ids=range(len(DIFFERENT)))
def test_where_the_published_checks_go_wrong_ours_do_not_follow(spec, reply, follows):
    assert checker(spec).follows(reply) is follows


ENGLISH = (
    "me too!",
    "hello",
    "thank you",
    "yes",
    "no",
    "i do",
    "a me no do",
    "see you soon",
    "good morning",
    "cats and dogs",
    "rivers are long",
    "soup",
    "moss",
)


@pytest.mark.parametrize("text", ENGLISH)
def test_short_english_is_english_in_small_letters_and_in_capitals(text):
    assert checker({"id": "change_case:english_lowercase"}).follows(text)
    assert checker({"id": "change_case:english_capital"}).follows(text.upper())


OTHERS = [
    ("das ist nicht alles, was ich weiß", "de"),
    ("¿dónde está la biblioteca?", "es"),
    ("où est la bibliothèque ?", "fr"),
    ("dov'è la biblioteca, per favore?", "it"),
    ("onde fica a biblioteca, por favor?", "pt"),
    ("kde je knihovna, prosím?", "cs"),
    ("hol van a könyvtár, kérem?", "hu"),
    ("kütüphane nerede, lütfen?", "tr"),
    ("thư viện ở đâu, làm ơn?", "vi"),
    ("missä kirjasto on, kiitos?", "fi"),
    ("где библиотека?", "ru"),
    ("图书馆在哪里", "zh"),
]


@pytest.mark.parametrize(("text", "language"), OTHERS)
def test_another_language_is_not_taken_for_english(text, language):
    assert speaks(text, language)
    assert not speaks(text, "en")
    assert not checker({"id": "change_case:english_lowercase"}).follows(text)


@pytest.mark.parametrize("code", ["en", "EN", "en-US", "en_GB", " en "])
def test_a_region_makes_no_other_language(code):
    spec = {"id": "language:response_language", "kwargs": {"language": code}}
    assert checker(spec).follows("The river runs past the old mill.")
    assert not checker(spec).follows("Der Fluss fließt an der alten Mühle vorbei.")


@pytest.mark.parametrize(
    ("code", "hint"), [("English", "Did you mean 'en'"), ("Klingon", "639-1"), ("xx", "639-1")]
)
def test_what_names_no_language_is_refused(code, hint):
    spec = {"id": "language:response_language", "kwargs": {"language": code}}
    with pytest.raises(ValueError, match=hint) as refused:
        checker(spec)
    assert f"language = {code!r}" in str(refused.value)


def test_every_language_that_may_be_asked_for_can_be_told():
    from munro.rewards.instructions.tongues import _identifier

    assert set(_identifier().labels) >= LANGUAGES
