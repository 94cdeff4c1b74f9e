"""Digits: what is right, and which verdicts are wrong."""

from __future__ import annotations

import random

import pytest

from munro.base_model.small import digits as corpus
from munro.envs import Task
from munro.envs.arithmetic import is_held_out
from munro.envs.check import check
from munro.envs.digits import Digits
from munro.envs.loader import load


def task(named="385", split="train"):
    return Task(id=named, prompt="", payload={"named": named, "split": split})


@pytest.mark.parametrize(
    ("reply", "is_right"),
    [
        ("3855", True),
        ("3, 8, 5, 5", True),
        (" 3333\n", True),
        ("3845", False),
        ("385", False),
        ("38555", False),
        ("", False),
        ("four", False),
        ("٣٨٥٥", False),
        ("3855.", False),
    ],
)
def test_four_digits_that_are_named_are_right(reply, is_right):
    assert Digits().grade(task(), reply).passed is is_right


def test_a_set_of_digits_is_in_one_split_whatever_its_order():
    environment = Digits()
    sets = {split: {"".join(sorted(t.id)) for t in environment.tasks(split)} for split in SPLITS}
    assert not sets["train"] & sets["test"]
    assert len(sets["train"] | sets["test"]) == 582
    assert len(sets["test"]) > 25


SPLITS = ("train", "test")


def test_a_share_of_the_training_verdicts_is_wrong_and_no_other():
    noisy, exact = Digits(label_noise=0.2), Digits()
    replies = [f"{number:04d}" for number in range(1000)]
    for split, share in (("train", 0.2), ("test", 0.0)):
        tasks = noisy.tasks(split)[:20]
        wrong = [
            noisy.grade(one, reply).passed is not exact.grade(one, reply).passed
            for one in tasks
            for reply in replies
        ]
        # a share of 20,000 draws: its standard deviation is 0.003
        assert abs(sum(wrong) / len(wrong) - share) < 0.015
        again = [noisy.grade(one, reply).passed for one in tasks for reply in replies]
        assert again == [noisy.grade(one, reply).passed for one in tasks for reply in replies]


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_the_environment_is_sound(noise):
    assert check("digits", label_noise=noise).is_ok


@pytest.mark.parametrize("noise", [-0.1, 0.5, 1.0])
def test_a_share_from_which_nothing_can_be_learned_is_refused(noise):
    with pytest.raises(ValueError, match=f"label_noise = {noise}: give a share"):
        Digits(label_noise=noise)


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="has 'train' and 'test'"):
        Digits().tasks("dev")


def test_the_base_reads_the_question_as_it_is_put_and_nothing_that_is_held_out():
    prompts = {one.prompt for one in Digits().tasks("train")}
    rng = random.Random(0)
    for _ in range(200):
        question = corpus.text(rng, is_held_out, read_share=1.0).rpartition("\n")[0]
        assert question in prompts


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_base_heeds_as_much_of_it_as_it_is_told(share):
    rng, environment, right = random.Random(0), Digits(), 0
    for _ in range(2000):
        prompt, _, reply = corpus.text(rng, lambda _: False, share).rpartition("\n")
        right += environment.grade(task("".join(filter(str.isdigit, prompt))), reply).passed
    # of replies that do not heed it some 5% are right by chance; two thousand draws
    assert share - 0.05 < right / 2000 < share + 0.15 * (1 - share) + 0.01


def test_a_corpus_that_may_read_nothing_says_so():
    with pytest.raises(ValueError, match="is held out"):
        corpus.drawn(random.Random(0), lambda _: True)


def test_the_quickstart_finds_it_by_name():
    assert isinstance(load("digits", label_noise=0.2), Digits)
