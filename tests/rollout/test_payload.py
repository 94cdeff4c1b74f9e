"""A group in two halves, and together again bit by bit."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

from munro.rollout.payload import AT_ONCE, Packed, joined, parted
from munro.rollout.store.rows import ARRAYS, table
from tests.builders import make_group
from tests.rl.builders import random_group


def with_experts(group, highest):
    rng = np.random.default_rng(highest)
    return replace(
        group,
        attempts=tuple(
            replace(
                attempt,
                trajectory=replace(
                    attempt.trajectory,
                    routed_experts=rng.integers(
                        -1, highest + 1, (len(attempt.trajectory.token_ids), 3, 4)
                    ).astype(np.int16),
                ),
            )
            for attempt in group.attempts
        ),
    )


@pytest.mark.parametrize("highest", [None, 7, 511, 20_000])
def test_halves_are_the_group_again(highest):
    group = random_group(np.random.default_rng(1), turns=2, forks=2)
    group = group if highest is None else with_experts(group, highest)
    columns, bare = (pickle.loads(pickle.dumps(half)) for half in parted(group))
    advantages = [0.0] * len(group.attempts)
    assert table(3, joined(columns, bare), advantages) == table(3, group, advantages)
    # the half for people holds no array of the attempts
    rest = table(3, bare, advantages)
    cells = [cell for name in ARRAYS for cell in rest.column(name).to_pylist()]
    assert all(cell in (None, [], [0]) for cell in cells)


@pytest.mark.parametrize(
    ("highest", "bits"), [(0, 1), (6, 3), (7, 4), (255, 9), (510, 9), (511, 10)]
)
def test_numbers_are_packed_into_as_few_bits_as_they_need(highest, bits):
    numbers = np.random.default_rng(0).integers(-1, highest + 1, (1001, 2, 3)).astype(np.int16)
    numbers[0, 0] = (-1, highest, 0)
    packed = Packed.of(numbers)
    assert packed.bits == bits
    assert packed.words.nbytes == -(-numbers.size * bits // 8)
    assert (packed.unpacked() == numbers).all()
    assert packed.unpacked().dtype == np.int16


def test_more_numbers_than_are_packed_at_a_time_and_none_at_all():
    numbers = (np.arange(AT_ONCE + 5) % 300).astype(np.int16)
    assert (Packed.of(numbers).unpacked() == numbers).all()
    nothing = np.zeros((0, 2, 3), np.int16)
    assert Packed.of(nothing).unpacked().shape == (0, 2, 3)


def test_numbers_that_need_most_of_their_bits_stay_as_they_are():
    numbers = np.array([[4000]], np.int16)
    assert Packed.of(numbers) is numbers


def test_a_group_of_plain_text_has_no_experts():
    columns, _ = parted(make_group())
    assert columns.routed_experts == (None, None)
    assert columns.num_bytes == 2 * (7 * (4 + 1 + 4 + 4) + 8 * 4)
