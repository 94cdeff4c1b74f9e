"""Rewards made of parts: sums, priorities, gates and severity, and what each refuses."""

from __future__ import annotations

import math
from statistics import pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from munro.rewards.combine import Combination
from munro.rewards.combine.parts import GraderConfig, check_names
from munro.rewards.combine.tree import levels, names, node_of

GATED = {
    "kind": "gated",
    "gate": "safe",
    "minimum": -1.0,
    "then": {"kind": "lexicographic", "parts": ["correct", "brief"]},
}
parts = st.floats(0, 1)
groups = st.lists(st.fixed_dictionaries({"a": parts, "b": parts, "c": parts}), min_size=1)


def combination(tree, **ranges):
    return Combination(node_of(tree), ranges)


def test_a_sum_weighs_its_parts_and_a_lone_name_is_a_reward():
    tree = {"kind": "sum", "parts": ["a", "b"], "weights": [1, -0.5]}
    assert combination(tree).rewards([{"a": 1, "b": 0.5}, {"a": 0, "b": 1}]) == [0.75, -0.5]
    assert combination("a").rewards([{"a": 0.25}]) == [0.25]


def test_a_lower_part_counts_only_where_the_higher_ties_over_the_whole_group():
    tree = combination({"kind": "lexicographic", "parts": ["correct", "brief"]})
    differ = [{"correct": 1, "brief": 0}, {"correct": 0, "brief": 1}]
    tie = [{"correct": 1, "brief": 0.2}, {"correct": 1, "brief": 0.8}]
    assert tree.rewards(differ) == [1, 0]
    assert tree.rewards(tie) == [0.2, 0.8]


def test_where_every_part_ties_and_in_a_group_of_one_the_first_part_is_paid():
    tree = combination({"kind": "lexicographic", "parts": ["a", "b"]})
    assert tree.rewards([{"a": 0.5, "b": 0.1}]) == [0.5]
    assert tree.rewards([{"a": 0.5, "b": 0.1}] * 3) == [0.5] * 3


@given(groups, st.floats(1e-3, 1e3))
def test_priorities_do_not_depend_on_the_scale_of_what_is_below(group, scale):
    ranges = {"b": (0, 1e3)}
    tree = combination({"kind": "lexicographic", "parts": ["a", "b"], "tolerance": 0}, **ranges)
    scaled = [row | {"b": row["b"] * scale} for row in group]
    if pstdev(row["a"] for row in group) > 0:
        assert tree.rewards(group) == tree.rewards(scaled) == [row["a"] for row in group]


@given(st.lists(st.tuples(st.booleans(), parts, parts), min_size=1))
def test_no_quality_lifts_what_fails_the_gate_over_what_passes(attempts):
    known = [{"safe": float(s), "correct": c, "brief": b} for s, c, b in attempts]
    rewards = combination(GATED).rewards(known)
    failed = [r for r, row in zip(rewards, known, strict=True) if not row["safe"]]
    passed = [r for r, row in zip(rewards, known, strict=True) if row["safe"]]
    assert set(failed) <= {-1.0}
    assert all(reward >= 0 for reward in passed)


def test_ties_are_looked_for_among_those_who_pass_the_gate():
    known = [
        {"safe": 1, "correct": 1, "brief": 0.3},
        {"safe": 0},
        {"safe": 1, "correct": 1, "brief": 0.9},
    ]
    assert combination(GATED).rewards(known) == [0.3, -1.0, 0.9]


def test_nothing_behind_a_closed_gate_is_asked_for():
    tree = combination(GATED)
    assert tree.needed([{}, {}]) == {"safe": [0, 1]}
    assert tree.needed([{"safe": 0}, {"safe": 1}]) == {"correct": [1], "brief": [1]}
    assert tree.needed([{"safe": 0}, {"safe": 1, "correct": 1, "brief": 1}]) == {}


def test_lower_priorities_are_spared_where_they_do_not_count_if_asked():
    tree = combination({"kind": "lexicographic", "parts": ["a", "b"], "every_part": False})
    assert tree.needed([{"a": 0}, {"a": 1}]) == {}
    assert tree.needed([{"a": 1}, {"a": 1}]) == {"b": [0, 1]}


def test_a_gate_pays_the_least_that_lies_behind_it_unless_set_lower():
    tree = {"kind": "gated", "gate": "safe", "then": "honest"}
    assert combination(tree, honest=(-1, 1)).rewards([{"safe": 0.0}]) == [-1]
    assert combination(tree | {"minimum": -3}).rewards([{"safe": 0.0}]) == [-3]
    with pytest.raises(ValueError, match=r"more than the least .* failing the gate would pay"):
        combination(tree | {"minimum": 0.5})


def test_severity_scales_a_part_and_leaves_the_gate_alone():
    penalty = {"kind": "severity", "part": "engaged", "multipliers": [0, 0.5, 1, 2]}
    tree = combination(
        {"kind": "gated", "gate": "safe", "then": penalty, "minimum": -9}, engaged=(-1, 0)
    )
    known = [{"safe": 1.0, "engaged": -0.5, "severity": float(level)} for level in range(4)]
    assert tree.rewards(known) == [0, -0.25, -0.5, -1]
    assert tree.rewards([{"safe": 0.0, "severity": 3.0}]) == [-9]
    with pytest.raises(ValueError, match="whole number from 0 to 3"):
        tree.rewards([{"safe": 1.0, "engaged": -0.5, "severity": 1.5}])
    with pytest.raises(ValueError, match="'severity' is missing"):
        tree.rewards([{"safe": 1.0, "engaged": -0.5}])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1.5])
def test_a_part_that_is_not_finite_or_out_of_its_range_is_named(value):
    with pytest.raises(ValueError, match="the part 'a' is"):
        combination("a", a=(0, 1)).rewards([{"a": value}])
    with pytest.raises(ValueError, match="'b' is missing"):
        combination("b").rewards([{"a": 1}])


def test_the_verdict_needs_the_gate_and_what_is_behind_it():
    tree = combination(GATED)
    assert tree.verdict({"safe": 1, "correct": 1}, {"safe": True, "correct": True}) is True
    assert tree.verdict({"safe": 1, "correct": 0}, {"safe": True, "correct": False}) is False
    assert tree.verdict({"safe": 0}, {"safe": False}) is False
    assert tree.verdict({}, {}) is None
    assert combination("a").verdict({"a": 1}, {"a": None}) is None


def test_only_what_decides_the_verdict_is_scored_before_the_group_is_complete():
    tree = combination(GATED)
    assert tree.undecided({}, {}) == ["safe"]
    assert tree.undecided({"safe": 0}, {"safe": False}) == []
    assert tree.undecided({"safe": 1}, {"safe": True}) == ["correct"]
    assert tree.undecided({"safe": 1, "correct": 0}, {"safe": True, "correct": False}) == []
    assert tree.undecided({"safe": 1}, {"safe": True}, {"correct", "brief"}) == []


def test_trees_nest_and_survive_being_written_down():
    deep = {"kind": "sum", "parts": [GATED, {"kind": "severity", "part": "tone"}]}
    tree = node_of(deep)
    assert names(tree) == ["safe", "correct", "brief", "tone"]
    assert levels(tree) == ["severity"]
    assert node_of(tree.model_dump(mode="json")) == tree


@pytest.mark.parametrize(
    ("tree", "sentence"),
    [
        ({"kind": "gate"}, r"reward.kind = 'gate'. Did you mean 'gated'\?"),
        ({"kind": "sum"}, "reward.parts is not set"),
        (
            {"kind": "sum", "parts": ["a"], "wieghts": [1]},
            r"reward.wieghts. Did you mean 'weights'",
        ),
        ({"kind": "sum", "parts": ["a"], "weights": [1, 2]}, "2 weights for 1 parts"),
        ({"kind": "sum", "parts": ["a"], "weights": [math.inf]}, "every weight must be finite"),
        ({"kind": "lexicographic", "parts": ["a"]}, "reward.parts: tuple should have at least 2"),
        ({"kind": "sum", "parts": ["a", {"kind": "sum"}]}, r"reward.parts\[1\].parts is not set"),
        ({"kind": "severity", "part": "a", "multipliers": [1, 2]}, "give 4 that do not fall"),
        (GATED | {"at_least": "no"}, "reward.at_least: input should be a valid number"),
        (3, "reward = 3: give the name of a part"),
    ],
)
def test_a_tree_that_makes_no_sense_is_refused_by_the_key(tree, sentence):
    with pytest.raises(ValueError, match=sentence):
        node_of(tree)


def test_names_without_a_grader_and_graders_without_a_reward_are_refused():
    brief = GraderConfig(kind="brevity")
    with pytest.raises(ValueError, match=r"no grader 'brif'. Did you mean 'brief'\?"):
        check_names({"brief": brief}, "brif")
    with pytest.raises(ValueError, match="name is taken"):
        check_names({"language": brief}, "language")
    with pytest.raises(ValueError, match=r"without env.reward"):
        check_names({"brief": brief}, None)
    with pytest.raises(ValueError, match=r"Did you mean 'brevity'\?"):
        GraderConfig(kind="brevty")
    check_names({"brief": brief}, node_of({"kind": "sum", "parts": ["task", "brief"]}))
