"""Who sees what is balanced exactly, and a function of the seed alone."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from munro.evaluation.sides.assign import APART, Design, assign
from munro.evaluation.sides.types import BadSides, Kind


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 7), st.integers(1, 7), st.integers(0, 5), st.booleans())
def test_every_design_is_balanced(pairs, raters, per_pair, seed, again):
    per_pair = min(per_pair, raters)
    design = Design(
        pairs=pairs, raters=raters, per_pair=per_pair, seed=seed, again=0.2 if again else 0
    )
    lists = assign(design)
    left_of_pair, seen = Counter(), Counter()
    for own in lists:
        first = [look for look in own if look.kind is Kind.FIRST]
        assert len({look.pair for look in first}) == len(first)  # each pair once
        left = sum(look.a_left for look in first)
        assert abs(2 * left - len(first)) <= 1  # a rater's own sides
        seen.update(look.pair for look in first)
        left_of_pair.update(look.pair for look in first if look.a_left)
    assert [seen[pair] for pair in range(pairs)] == [per_pair] * pairs
    assert all(abs(2 * left_of_pair[pair] - per_pair) <= 1 for pair in range(pairs))
    loads = [sum(look.kind is Kind.FIRST for look in own) for own in lists]
    assert max(loads) - min(loads) <= 1


def test_a_whole_study_keeps_each_raters_left_share_between_45_and_55_percent():
    lists = assign(Design(pairs=1276, raters=9, per_pair=3), [list(range(1276, 1290))] * 9)
    for own in lists:
        assert 0.45 <= sum(look.a_left for look in own) / len(own) <= 0.55
    both = [look.a_left for own in lists for look in own if look.kind is Kind.FIRST]
    assert abs(2 * sum(both) - len(both)) <= 9


def test_the_same_seed_is_the_same_study_and_another_is_another():
    design = Design(pairs=30, raters=4, per_pair=2)
    assert assign(design) == assign(design)
    assert assign(design) != assign(Design(pairs=30, raters=4, per_pair=2, seed=1))
    # no version of anything may change what was drawn: it is audited by making it again
    first = assign(Design(pairs=4, raters=2, per_pair=1, again=0, checks=0, seed=7))
    assert [[(look.pair, look.a_left) for look in own] for own in first] == GOLDEN


GOLDEN = [[(1, True), (0, False)], [(2, False), (3, True)]]


def test_what_is_seen_again_comes_later_with_its_sides_changed():
    lists = assign(Design(pairs=100, raters=2, per_pair=2, again=0.1))
    for own in lists:
        places = defaultdict(list)
        for place, look in enumerate(own):
            places[look.pair].append((place, look))
        twice = [both for both in places.values() if len(both) == 2]
        assert len(twice) == 10
        for (first, was), (later, now) in twice:
            assert (was.kind, now.kind) == (Kind.FIRST, Kind.AGAIN)
            assert was.a_left is not now.a_left
            assert later - first >= APART


def test_checks_are_mixed_in_with_the_good_one_on_either_side():
    (own,) = assign(Design(pairs=100, raters=1, per_pair=1, checks=0.1), [list(range(100, 150))])
    checks = [(place, look) for place, look in enumerate(own) if look.kind is Kind.CHECK]
    assert [look.pair for _, look in checks] != sorted(look.pair for _, look in checks)
    assert sum(look.a_left for _, look in checks) == 5
    assert len(checks) == 10
    assert max(place for place, _ in checks) - min(place for place, _ in checks) > 30


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"pairs": 0, "raters": 1, "per_pair": 1}, "at least one of each"),
        ({"pairs": 5, "raters": 2, "per_pair": 3}, "3 raters a pair of 2 in all: give 1 to 2"),
        ({"pairs": 5, "raters": 3, "again": 0.9}, "again = 0.9: give a share"),
    ],
)
def test_what_cannot_be_is_told(fields, why):
    with pytest.raises(BadSides, match=why):
        Design(**fields)
