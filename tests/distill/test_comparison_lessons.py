"""Lessons from comparisons: only scores are learned, orders change, strangers score 1."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from munro.base_model.data.shards.packing import Lesson
from munro.distill.comparison_lessons import ComparisonLessons, split_by_context
from munro.distill.config import PreferenceConfig
from munro.rewards.preference.comparisons import Comparison
from munro.rewards.preference.format import Limits, PreferenceFormat
from tests.rewards.preference_models import WORDS, tokenizer

COMPARISONS = [
    Comparison(context=f"about {word}", candidates=(word, f"{word} {word}"), scores=(5, 3))
    for word in WORDS
]


def lessons(
    comparisons: list[Comparison] = COMPARISONS, *, most: int = 2, **changes: Any
) -> ComparisonLessons:
    limits = Limits(candidates=most, context_tokens=20, candidate_tokens=8)
    settings = {"foreign_share": 0.0, "neutral_share": 0.0, **changes}
    form = PreferenceFormat(tokenizer(), limits)
    return ComparisonLessons(comparisons, form, PreferenceConfig(**settings))


def shown(lesson: Lesson) -> tuple[str, list[tuple[str, int]]]:
    """The context, and each candidate with its score."""
    prompt = [t for t, learned in zip(lesson.token_ids, lesson.learned, strict=True) if not learned]
    target = [t for t, learned in zip(lesson.token_ids, lesson.learned, strict=True) if learned]
    assert [*prompt, *target] == list(lesson.token_ids), "scores stand at the end"
    assert prompt[-1] == tokenizer().eos_token_id
    context, *candidates = tokenizer().decode(prompt).removesuffix("<eos>").split("<eos>")
    scores = [int(tokenizer().decode([token])) for token in target]
    return context, list(zip(candidates, scores, strict=True))


def many(found: ComparisonLessons, count: int) -> list[tuple[str, list[tuple[str, int]]]]:
    return [shown(found.tokens(index, 0.0)) for index in range(count)]


def test_a_lesson_is_context_and_candidates_and_then_the_scores_which_alone_are_learned():
    seen = many(lessons(permute=False), len(WORDS))
    assert sorted(seen) == sorted(
        (f"about {word}", [(word, 5), (f"{word} {word}", 3)]) for word in WORDS
    )


def test_every_epoch_shows_every_comparison_once_in_another_order():
    found = many(lessons(), 4 * len(WORDS))
    epochs = [
        [context for context, _ in found[start : start + len(WORDS)]]
        for start in range(0, len(found), len(WORDS))
    ]
    assert {tuple(sorted(epoch)) for epoch in epochs} == {tuple(sorted(epochs[0]))}
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_permuted_candidates_keep_their_scores_and_stand_at_every_place():
    firsts = Counter(candidates[0] for _, candidates in many(lessons(), 200))
    assert {score for _, score in firsts} == {5, 3}
    assert all((" " in text) == (score == 3) for text, score in firsts)
    assert 60 < sum(count for (_, score), count in firsts.items() if score == 5) < 140


def test_lessons_are_a_function_of_their_index():
    mixed = {"foreign_share": 0.4, "neutral_share": 0.2}
    forward = [lessons(**mixed).tokens(index, 0.0) for index in range(40)]
    one = lessons(**mixed)
    assert [one.tokens(index, 0.9) for index in reversed(range(40))] == forward[::-1]
    assert [lessons(seed=1, **mixed).tokens(index, 0.0) for index in range(40)] != forward


def is_foreign(context: str, text: str) -> bool:
    return text.split()[0] != context.removeprefix("about ")


def test_a_foreign_candidate_takes_a_place_and_scores_1():
    found = many(lessons(foreign_share=1.0), 100)
    for context, candidates in found:
        strangers = [(text, score) for text, score in candidates if is_foreign(context, text)]
        own = [score for text, score in candidates if not is_foreign(context, text)]
        assert [score for _, score in strangers] == [1]
        assert own in ([5], [3])


def test_a_foreign_candidate_joins_where_there_is_room():
    for context, candidates in many(lessons(foreign_share=1.0, most=3), 50):
        scores = sorted(score for _, score in candidates)
        assert scores == [1, 3, 5]
        assert sum(is_foreign(context, text) for text, _ in candidates) == 1


def test_neutral_lessons_hold_strangers_alone_who_are_worth_the_same():
    for context, candidates in many(lessons(neutral_share=1.0), 50):
        assert all(is_foreign(context, text) and score == 1 for text, score in candidates)


def test_the_shares_of_the_mix_are_those_of_the_config():
    kinds: Counter[int] = Counter()
    for context, candidates in many(lessons(foreign_share=0.3, neutral_share=0.2), 1000):
        kinds[sum(is_foreign(context, text) for text, _ in candidates)] += 1
    assert [kinds[count] / 1000 for count in range(3)] == pytest.approx([0.5, 0.3, 0.2], abs=0.05)


def test_a_text_that_the_context_has_too_is_not_foreign_to_it():
    same = [
        Comparison(context=context, candidates=("cairn", "deer"), scores=(5, 2))
        for context in ("one", "two")
    ]
    for _, candidates in many(lessons(same, foreign_share=0.5, neutral_share=0.5), 20):
        assert {score for _, score in candidates} <= {5, 2}


def test_more_candidates_than_the_model_is_shown_take_turns():
    crowd = Comparison(context="all", candidates=WORDS, scores=(5, 4, 3, 3, 2, 1))
    seen = Counter(
        text for _, candidates in many(lessons([crowd], most=3), 100) for text, _ in candidates
    )
    assert set(seen) == set(WORDS)
    assert sum(seen.values()) == 300


def test_no_lesson_is_longer_than_it_says():
    mixed = lessons(foreign_share=0.5, neutral_share=0.3, most=3)
    assert max(len(mixed.tokens(index, 0.0).token_ids) for index in range(200)) <= mixed.longest


def test_the_split_is_by_context_and_does_not_depend_on_the_order():
    doubled = [*COMPARISONS, *COMPARISONS]
    training, held_out = split_by_context(doubled, 0.3, seed=0)
    assert {one.context for one in training}.isdisjoint(one.context for one in held_out)
    assert (len(training), len(held_out)) == (8, 4)
    _, backwards = split_by_context(doubled[::-1], 0.3, seed=0)
    assert {one.context for one in backwards} == {one.context for one in held_out}
    others = {
        frozenset(one.context for one in split_by_context(doubled, 0.3, seed=seed)[1])
        for seed in range(9)
    }
    assert len(others) > 1


@pytest.mark.parametrize(("share", "count"), [(0.001, 1), (0.999, 5)])
def test_neither_side_of_the_split_is_empty(share: float, count: int):
    assert len(split_by_context(COMPARISONS, share, seed=0)[1]) == count


def test_a_single_context_cannot_be_split():
    assert split_by_context(COMPARISONS[:1], 0.5, seed=0) == (COMPARISONS[:1], [])
