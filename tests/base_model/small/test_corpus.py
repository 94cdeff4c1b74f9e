"""The corpus is right about sums, silent about held-out ones, and a pure function."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from munro.base_model.config import CorpusConfig
from munro.base_model.small.corpus import SUM_IN_TEXT, Corpus, paragraphs, problem, worked
from munro.envs.arithmetic import Arithmetic, is_held_out
from tests.base_model.builders import every_third_held_out, nothing_held_out, small_tokenizer

QUESTION = re.compile(r"What is (\d+ \+ \d+)\?\n(.*)<eos>")


def documents(config: CorpusConfig, count: int, *, seed: int = 0, progress: float = 0.0):
    tokenizer = small_tokenizer()
    corpus = Corpus(config, tokenizer, seed=seed, is_held_out=is_held_out)
    return [tokenizer.decode(corpus.tokens(index, progress)) for index in range(count)]


def sums(config: CorpusConfig, count: int, *, progress: float = 0.0) -> list[tuple[str, str]]:
    return [
        match.groups()
        for text in documents(config, count, progress=progress)
        if (match := QUESTION.fullmatch(text))
    ]


def test_a_worked_sum_goes_column_by_column_from_the_right():
    assert worked([347, 285]) == "7+5=12 4+8+1=13 3+2+1=06 632"
    assert worked([500, 500]) == "0+0=00 0+0+0=00 5+5+0=10 1000"


@given(st.lists(st.integers(100, 999), min_size=2, max_size=4))
def test_every_column_of_a_worked_sum_is_true_and_so_is_its_end(numbers: list[int]):
    *columns, total = worked(numbers).split(" ")
    assert int(total) == sum(numbers)
    for column in columns:
        terms, value = column.split("=")
        assert sum(map(int, terms.split("+"))) == int(value)


@pytest.mark.parametrize("progress", [0.0, 0.99])
def test_no_document_poses_a_held_out_problem(progress: float):
    posed = [question for question, _ in sums(CorpusConfig(digits=2), 3000, progress=progress)]
    assert len(posed) > 2000
    assert not any(map(is_held_out, posed))


def test_the_environments_test_problems_are_the_ones_left_out():
    posed = {question for question, _ in sums(CorpusConfig(digits=2), 6000)}
    held_out = Arithmetic(digits=2, terms=2, operators="+").tasks("test")
    asked = {held_out[index].prompt for index in range(len(held_out))}
    assert asked
    assert not asked & {f"What is {question}?" for question in posed}


def test_no_paragraph_mentions_a_held_out_sum():
    every = paragraphs(nothing_held_out)
    assert any(SUM_IN_TEXT.search(text) for text in every)
    assert not any(SUM_IN_TEXT.search(text) for text in paragraphs(lambda problem: True))


def test_most_sums_are_worked_early_and_answered_at_once_late():
    config = CorpusConfig(worked_share_early=0.8, worked_share=0.2, early_part=0.75)
    early = ["=" in reply for _, reply in sums(config, 2000, progress=0.74)]
    late = ["=" in reply for _, reply in sums(config, 2000, progress=0.75)]
    assert sum(early) / len(early) == pytest.approx(0.8, abs=0.03)
    assert sum(late) / len(late) == pytest.approx(0.2, abs=0.03)


def test_every_reply_ends_in_the_right_total():
    for question, reply in sums(CorpusConfig(), 500, progress=0.9):
        assert int(reply.split()[-1]) == sum(map(int, question.split(" + ")))


def test_the_share_of_documentation_is_the_one_asked_for():
    texts = documents(CorpusConfig(text_share=0.3), 2000)
    share = sum(not QUESTION.fullmatch(text) for text in texts) / len(texts)
    assert share == pytest.approx(0.3, abs=0.03)


def test_documents_depend_on_the_seed_and_on_nothing_else():
    assert documents(CorpusConfig(), 50, seed=1) == documents(CorpusConfig(), 50, seed=1)
    assert documents(CorpusConfig(), 50, seed=1) != documents(CorpusConfig(), 50, seed=2)


def test_drawn_problems_have_as_many_digits_as_asked_and_are_not_held_out():
    drawn = [problem(random.Random(seed), 2, every_third_held_out) for seed in range(200)]
    assert all(10 <= number <= 99 for numbers in drawn for number in numbers)
    assert all(sum(numbers) % 3 for numbers in drawn)


def test_a_predicate_that_holds_out_everything_is_named_as_the_fault():
    with pytest.raises(ValueError, match="held out"):
        problem(random.Random(0), 2, lambda problem: True)
