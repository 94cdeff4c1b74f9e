"""What selection promises, for any index: windows, outcomes, uniform draws, caps, shares."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from munro.distill.config import SelectConfig
from munro.distill.select import Index, rows_of, select, steps_in


def make_index(prompts: list[int], *, sources: list[int] | None = None, **columns: Any) -> Index:
    """One trace for each entry, which is its prompt; all passed, at step 1, unless given."""
    size = len(prompts)
    defaults: dict[str, Any] = {
        "step": np.ones(size, np.int32),
        "solved": np.ones(size, bool),
        "truncated": np.zeros(size, bool),
        "reward": np.ones(size, np.float32),
        "tokens": np.full(size, 10, np.int32),
    }
    defaults |= {name: np.asarray(column) for name, column in columns.items()}
    owners = np.array(sources if sources is not None else [0] * size, np.int16)
    return Index(
        source=owners,
        place=np.array(prompts, np.int64),
        attempt=np.arange(size, dtype=np.int32),
        prompt=np.array(prompts, np.int32),
        sources=tuple(f"run{n}" for n in range(int(owners.max(initial=0)) + 1)),
        prompts=tuple(f"prompt {n}" for n in range(max(prompts, default=0) + 1)),
        **defaults,
    )


@st.composite
def indices(draw: st.DrawFn) -> Index:
    size = draw(st.integers(0, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return make_index(
        rng.integers(0, 8, size).tolist(),
        sources=rng.integers(0, 3, size).tolist(),
        step=rng.integers(1, 9, size).astype(np.int32),
        solved=rng.random(size) < 0.6,
        reward=rng.random(size).astype(np.float32),
        tokens=rng.integers(1, 50, size).astype(np.int32),
    )


RULES = st.builds(
    SelectConfig,
    window=st.sampled_from([(0.5, 1.0), (0.0, 1.0), (0.0, 0.3), (0.9, 1.0)]),
    outcomes=st.sampled_from(["passed", "all"]),
    choose=st.sampled_from(["uniform", "shortest", "reward", "typical"]),
    most_prompts=st.integers(0, 5),
    most_per_prompt=st.integers(0, 3),
    most_traces=st.integers(0, 30),
    most_tokens=st.sampled_from([0, 40, 300]),
    weigh=st.sampled_from(["samples", "tokens"]),
    seed=st.integers(0, 3),
)
WEIGHTS = st.sampled_from([None, {"run0": 0.5, "run1": 0.3, "run2": 0.2}])


@given(indices(), RULES, WEIGHTS, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_caps_hold_nothing_is_taken_twice_and_the_order_of_rows_does_not_matter(
    index, rule, weights, random
):
    weights = None if weights is None else {name: weights[name] for name in index.sources}
    rows = rows_of(index, rule, weights)
    taken = index.taken(rows)
    assert len(set(rows.tolist())) == len(rows)
    assert rule.outcomes == "all" or taken.solved.all()
    assert not rule.most_traces or len(rows) <= rule.most_traces + len(index.sources)
    if rule.most_tokens and (weights is None or rule.weigh == "tokens"):
        assert taken.tokens.sum() <= rule.most_tokens
    of_prompt = Counter(zip(taken.source.tolist(), taken.prompt.tolist(), strict=True))
    assert not rule.most_per_prompt or max(of_prompt.values(), default=0) <= rule.most_per_prompt
    if rule.most_prompts:
        of_run = Counter(source for source, _ in of_prompt)
        assert max(of_run.values(), default=0) <= rule.most_prompts
    for number in range(len(index.sources)):
        steps = np.unique(index.step[index.source == number]).tolist()
        assert set(taken.step[taken.source == number].tolist()) <= set(steps_in(steps, rule.window))
    shuffled = list(range(len(index)))
    random.shuffle(shuffled)
    again = select(index.taken(np.array(shuffled, np.int64)), rule, weights)
    assert again == select(index, rule, weights)


@given(indices(), RULES)
@settings(max_examples=40, deadline=None)
def test_no_prompt_gives_two_more_than_another_that_still_has_some(index, rule):
    rule = rule.model_copy(
        update={"most_tokens": 0, "choose": "uniform", "most_per_prompt": 0, "most_prompts": 0}
    )
    one_run = index.taken(np.flatnonzero(index.source == 0))
    everything = one_run.taken(rows_of(one_run, rule.model_copy(update={"most_traces": 0})))
    taken = one_run.taken(rows_of(one_run, rule))
    had, got = Counter(everything.prompt.tolist()), Counter(taken.prompt.tolist())
    most = max(got.values(), default=0)
    assert all(got[prompt] >= min(most - 1, count) for prompt, count in had.items())


def chi_square(counts: np.ndarray) -> float:
    expected = counts.sum() / len(counts)
    return float(((counts - expected) ** 2 / expected).sum())


def test_prompts_are_drawn_uniformly_however_many_traces_they_have():
    # prompt n has n + 1 traces; 2 of 10 prompts are drawn, 2000 times
    index = make_index([prompt for prompt in range(10) for _ in range(prompt + 1)])
    counts = np.zeros(10)
    for seed in range(2000):
        rule = SelectConfig(window=(0, 1), most_traces=2, seed=seed)
        counts[index.prompt[rows_of(index, rule)]] += 1
    assert counts.sum() == 4000
    assert chi_square(counts) < 21.7  # 99% of 9 degrees of freedom


def test_traces_of_a_prompt_are_drawn_uniformly():
    index = make_index([0] * 12)
    counts = np.zeros(12)
    for seed in range(2000):
        counts[rows_of(index, SelectConfig(window=(0, 1), most_traces=3, seed=seed))] += 1
    assert chi_square(counts) < 24.7  # 99% of 11 degrees of freedom


def test_another_seed_draws_others():
    index = make_index([0, 1, 2, 3] * 10)
    drawn = {tuple(select(index, SelectConfig(most_traces=4, seed=seed))) for seed in range(5)}
    assert len(drawn) == 5


def test_the_name_of_a_run_decides_nothing():
    index = make_index([0, 1, 2, 3] * 20)
    other = replace(index, sources=("another name",))
    rule = SelectConfig(most_traces=20)
    assert rows_of(index, rule).tolist() == rows_of(other, rule).tolist()


def test_shortest_highest_and_typical_come_first():
    index = make_index(
        [0] * 5, tokens=np.array([9, 1, 5, 4, 30], np.int32), reward=np.array([0, 1, 2, 9, 3.0])
    )

    def first(choose: str) -> list[int]:
        rule = SelectConfig(window=(0, 1), choose=choose, most_traces=2)
        return rows_of(index, rule).tolist()

    assert first("shortest") == [1, 3]
    assert first("reward") == [3, 4]
    assert first("typical") == [2, 3]


def test_shares_of_samples_hold_and_the_scarcest_run_decides():
    index = make_index(list(range(300)), sources=[0] * 200 + [1] * 20 + [2] * 80)
    weights = {"run0": 0.56, "run1": 0.11, "run2": 0.33}
    taken = index.taken(rows_of(index, SelectConfig(window=(0, 1)), weights))
    assert np.bincount(taken.source).tolist() == [102, 20, 60]
    small = index.taken(rows_of(index, SelectConfig(window=(0, 1), most_traces=100), weights))
    assert np.bincount(small.source).tolist() == [56, 11, 33]


def test_shares_of_tokens_hold():
    lengths = np.array([10] * 200 + [100] * 200, np.int32)
    index = make_index(list(range(400)), sources=[0] * 200 + [1] * 200, tokens=lengths)
    rule = SelectConfig(window=(0, 1), weigh="tokens")
    taken = index.taken(rows_of(index, rule, {"run0": 0.5, "run1": 0.5}))
    tokens = [int(taken.tokens[taken.source == run].sum()) for run in (0, 1)]
    assert tokens == [2000, 2000]


@pytest.mark.parametrize(
    ("window", "found"),
    [
        ((0.5, 1.0), [3, 4]),
        ((0.0, 0.5), [1, 2]),
        ((0.9, 1.0), [4]),
        ((0.0, 0.1), []),
        ((0.0, 1.0), [1, 2, 3, 4]),
    ],
)
def test_a_window_takes_its_share_of_the_steps(window, found):
    assert steps_in([4, 2, 1, 3], window) == found


def test_a_window_that_runs_backwards_is_refused():
    with pytest.raises(ValidationError, match=r"give two shares of the climb in order"):
        SelectConfig(window=(1.0, 0.5))


def test_an_empty_index_gives_nothing():
    index = make_index([])
    assert select(index, SelectConfig()) == []
    assert select(index, SelectConfig(), {"run0": 1.0}) == []
