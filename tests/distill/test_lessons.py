"""Lessons come in an order that is a pure function of the index, with other data in its share."""

from __future__ import annotations

import numpy as np
import pytest

from munro.base_model.data.shards.packing import Lesson
from munro.distill.lessons import TraceLessons, WithReplay, write_lessons, write_taken


@pytest.fixture
def lessons(tmp_path):
    made = [Lesson([n] * (n + 1), [False] + [True] * n) for n in range(10)]
    write_lessons(tmp_path / "lessons", made)
    write_taken(tmp_path / "lessons", np.array([1, 3, 5, 7, 9]))
    return TraceLessons(tmp_path / "lessons", seed=3)


def first_tokens(documents, start: int, end: int) -> list[int]:
    read = (documents.tokens(index, 0.0) for index in range(start, end))
    return [lesson.token_ids[0] for lesson in read]


def test_every_epoch_holds_every_taken_lesson_once_in_an_order_of_its_own(lessons):
    epochs = [first_tokens(lessons, start, start + 5) for start in (0, 5, 10)]
    assert all(sorted(epoch) == [1, 3, 5, 7, 9] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1
    assert lessons.num_tokens == 2 + 4 + 6 + 8 + 10


def test_any_index_can_be_asked_for_again(lessons):
    straight = first_tokens(lessons, 0, 15)
    backwards = [first_tokens(lessons, n, n + 1)[0] for n in reversed(range(15))]
    assert backwards == straight[::-1]
    assert [lessons.length(n) for n in range(15)] == [token + 1 for token in straight]


def test_a_lesson_comes_back_as_it_was_written(lessons):
    lesson = lessons.tokens(0, 0.0)
    size = lesson.token_ids[0] + 1
    assert lesson == Lesson([size - 1] * size, [False] + [True] * (size - 1))


class Other:
    """Documents of twenty tokens that say which they are."""

    def tokens(self, index: int, progress: float) -> list[int]:
        return [1000 + index] * 20


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_other_data_has_its_share_of_the_tokens_and_nothing_is_skipped(lessons, share):
    both = WithReplay(lessons, Other(), share=share, other_length=20.0)
    read = [both.tokens(index, 0.0) for index in range(3000)]
    other = [document for document in read if not isinstance(document, Lesson)]
    own = [document for document in read if isinstance(document, Lesson)]
    tokens = sum(map(len, other))
    assert tokens / (tokens + sum(len(one.token_ids) for one in own)) == pytest.approx(share, 0.03)
    assert [document[0] for document in other] == [1000 + n for n in range(len(other))]
    assert [one.token_ids[0] for one in own] == first_tokens(lessons, 0, len(own))
