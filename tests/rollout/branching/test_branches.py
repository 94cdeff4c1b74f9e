"""Token runs that form a tree, against a tree walked token by token."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from munro.rollout.branches import Tree, branches, depths, parents, refuse_broken, runs, way


@st.composite
def trees(draw):
    """(number of tokens, forks)"""
    num = draw(st.integers(1, 24))
    places = sorted(draw(st.sets(st.integers(1, num - 1), max_size=6))) if num > 1 else []
    return num, tuple((place, draw(st.integers(-1, place - 1))) for place in places)


def walked(place: int, forks) -> list[int]:
    before = dict(forks)
    found = []
    while place >= 0:
        found.append(place)
        place = before.get(place, place - 1)
    return found[::-1]


@given(trees())
@settings(max_examples=200, deadline=None)
def test_ways_parents_and_depths_are_those_of_the_tree(tree):
    num, forks = tree
    refuse_broken(num, forks)
    for place in range(num):
        own = walked(place, forks)
        assert way(place, forks).tolist() == own
        assert depths(num, forks)[place] == len(own) - 1
        assert parents(num, forks)[place] == (own[-2] if len(own) > 1 else -1)
    assert [t for run in runs(num, forks) for t in range(run.start, run.end)] == list(range(num))


@given(trees(), st.data())
@settings(max_examples=200, deadline=None)
def test_branches_hold_every_sampled_token_and_each_is_one_branchs_own(tree, data):
    num, forks = tree
    sampled = np.array(data.draw(st.lists(st.booleans(), min_size=num, max_size=num)))
    found = branches(sampled, forks)
    own = [int(t) for one in found for t in one.tokens[one.own]]
    assert sorted(own) == np.flatnonzero(sampled).tolist()
    for one in found:
        assert one.tokens.tolist() == walked(int(one.tokens[-1]), forks)
        assert one.own[-1]
    # none of them goes on where another ends
    ends = [int(one.tokens[-1]) for one in found]
    assert not any(end in one.tokens[:-1] for end in ends for one in found)


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), min_size=1, max_size=6))
@settings(max_examples=200, deadline=None)
def test_a_tree_goes_on_from_exactly_what_it_is_told_and_adds_only_what_is_new(streams):
    tree, known = Tree(), []
    for stream in streams:
        longest = max((_common(stream, other) for other in known), default=0)
        before = tree.num_tokens
        assert tree.turn_to(stream) == longest
        assert tree.num_tokens - before == len(stream) - longest
        assert tree.current.tolist() == stream
        known.append(stream)
    for stream in known:
        assert any(
            tree.token_ids[way(place, tree.forks)].tolist() == stream
            for place in range(tree.num_tokens)
        )
    refuse_broken(tree.num_tokens, tree.forks)


def _common(one, other) -> int:
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


@pytest.mark.parametrize("forks", [((0, -1),), ((3, 3),), ((4, 1), (3, 1)), ((7, 1),), ((2, -2),)])
def test_what_is_no_fork_is_told(forks):
    with pytest.raises(ValueError, match="is no fork of 7 tokens"):
        refuse_broken(7, forks)
