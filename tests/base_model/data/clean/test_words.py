"""Hashes of words, lines and n-grams stand for the words, lines and n-grams themselves."""

from __future__ import annotations

import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from munro.base_model.data.clean.words import Segments, lines_of, ngrams_of, words_of

ASCII = st.text(st.characters(max_codepoint=126, min_codepoint=9), max_size=80)


def numbered(segments: Segments, names: list[list[str]]) -> bool:
    """Whether equal names have equal hashes and different ones different hashes."""
    pairs = {
        (name, int(one))
        for hashes, some in zip(segments.split(), names, strict=True)
        for one, name in zip(hashes, some, strict=True)
    }
    return len({name for name, _ in pairs}) == len(pairs) == len({one for _, one in pairs})


@given(st.lists(ASCII, min_size=1, max_size=5))
def test_words_are_runs_of_letters_digits_and_underscores_in_lower_case(texts: list[str]) -> None:
    expected = [re.findall(r"[a-z0-9_]+", text.lower()) for text in texts]
    found = words_of(texts)
    assert found.counts.tolist() == [len(words) for words in expected]
    assert numbered(found, expected)


@given(st.lists(ASCII, min_size=1, max_size=5))
def test_lines_are_compared_trimmed_and_in_lower_case(texts: list[str]) -> None:
    ink = " \t\n\r\v\f"
    expected = [
        [line.strip(ink) for line in text.lower().split("\n") if line.strip(ink)] for text in texts
    ]
    found = lines_of(texts)
    assert found.counts.tolist() == [len(lines) for lines in expected]
    assert numbered(found, expected)


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=12), min_size=1, max_size=4))
def test_ngrams_never_reach_into_the_next_document(documents: list[list[str]]) -> None:
    def ngrams(words: list[str]) -> list[str]:
        if len(words) < 3:
            return [" ".join(words)] if words else []
        return [" ".join(words[i : i + 3]) for i in range(len(words) - 2)]

    found = ngrams_of(words_of([" ".join(words) for words in documents]), 3)
    expected = [ngrams(words) for words in documents]
    assert found.counts.tolist() == [len(some) for some in expected]
    assert numbered(found, expected)


def test_capitals_beyond_ascii_are_folded_too() -> None:
    small, large = lines_of(["été à Kraków\nnaïve", "ÉTÉ À KRAKÓW\nNAÏVE"]).split()
    assert np.array_equal(small, large)


def test_an_ideograph_is_a_word_and_typographic_quotes_are_none() -> None:
    assert words_of(["東京 は“big”…  «naïve» ok。次"]).counts.tolist() == [2 + 1 + 1 + 1 + 1 + 1]
    plain, quoted = words_of(["it is big", "“It” is\u00a0“big”…"]).split()
    assert np.array_equal(plain, quoted)


def test_a_batch_and_its_documents_alone_hash_the_same() -> None:
    texts = ["alpha beta", "", "gamma", "東京 alpha"]
    together = words_of(texts).split()
    for text, hashes in zip(texts, together, strict=True):
        assert np.array_equal(words_of([text]).hashes, hashes)
