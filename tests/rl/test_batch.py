"""What is trained on, how it is shared out, and how it is laid out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from munro.envs.types import KeptTokens
from munro.rl.batch import Batch, build_batch
from munro.rl.policy.packing import Layout, MicroBatch, lay_out
from munro.rl.policy.sequences import Bundle
from munro.rollout.branches import way
from tests.builders import make_attempt, make_group, make_trajectory
from tests.rl.builders import random_group

LAYOUTS = list(Layout)


def random_batch(seed: int = 0, num_groups: int = 3, **options) -> Batch:
    rng = np.random.default_rng(seed)
    return build_batch([random_group(rng, index=i, **options) for i in range(num_groups)])


def asked(micros: list[MicroBatch]) -> list[tuple]:
    """Each sampled token with its context as the model would see it, and what is known of it."""
    found = []
    for micro in micros:
        num_columns = micro.token_ids.shape[1]
        for t, at in enumerate(micro.predicted_at):
            row, column = divmod(int(at), num_columns)
            sees = visible(micro, row, column)
            places = micro.positions[row, sees]
            context = tuple(micro.token_ids[row, sees][np.argsort(places)])
            assert sorted(places) == list(range(len(context)))
            kept = micro.kept_ids[micro.kept_starts[t] : micro.kept_starts[t + 1]]
            found.append(
                (
                    context,
                    int(micro.tokens[t]),
                    float(micro.behaviour_logp[t]),
                    float(micro.advantages[t]),
                    tuple(kept),
                )
            )
    return sorted(found)


def visible(micro: MicroBatch, row: int, column: int) -> np.ndarray:
    before = np.arange(micro.token_ids.shape[1]) <= column
    if micro.until is not None:
        return np.flatnonzero(before & (column < micro.until[row]))
    start = column - micro.positions[row, column]
    return np.flatnonzero(before & (np.arange(len(before)) >= start))


def wanted(batch: Batch) -> list[tuple]:
    found = []
    for sequence in batch.sequences:
        for t in np.flatnonzero(sequence.sampled):
            starts = sequence.kept.starts
            found.append(
                (
                    tuple(sequence.token_ids[way(int(t), sequence.forks)[:-1]]),
                    int(sequence.token_ids[t]),
                    float(sequence.behaviour_logp[t]),
                    float(np.float32(sequence.advantage)),
                    tuple(sequence.kept.ids[starts[t] : starts[t + 1]]),
                )
            )
    return sorted(found)


@given(
    st.integers(0, 10_000),
    st.sampled_from(LAYOUTS),
    st.sampled_from([1, 40, 10_000]),
    st.integers(1, 3),
    st.integers(1, 12),
    st.sampled_from([0, 1, 6]),
)
@settings(max_examples=150, deadline=None)
def test_every_sampled_token_is_asked_once_with_its_own_context(
    seed, layout, budget, turns, num_prompt, forks
):
    batch = random_batch(seed, turns=turns, num_prompt=num_prompt, forks=forks)
    assert asked(batch.micro_batches(budget, layout=layout)) == wanted(batch)


@given(st.integers(0, 10_000), st.integers(1, 8), st.sampled_from([40, 10_000]))
@settings(max_examples=60, deadline=None)
def test_a_tree_lies_in_its_row_with_every_token_once(seed, forks, budget):
    batch = random_batch(seed, 1, turns=4, forks=forks)
    for sequence in batch.sequences:
        bundle = Bundle(num_shared=0, sequences=(sequence,))
        (micro,) = lay_out([bundle], budget, layout=Layout.SHARED, width=1)
        read = {
            int(t)
            for at in np.flatnonzero(sequence.sampled)
            for t in way(int(at), sequence.forks)[:-1]
        }
        assert micro.token_ids.shape == (1, len(read))
        assert sorted(micro.token_ids[0]) == sorted(sequence.token_ids[sorted(read)])
        assert sequence.num_inputs == len(read)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_branches_of_a_sequence_are_one_sequence_in_one_micro_batch(layout):
    batch = random_batch(3, turns=4, forks=6, num_attempts=6)
    assert any(sequence.forks for sequence in batch.sequences)
    sizes = []
    for micro in batch.micro_batches(1, layout=layout):
        sizes += np.unique(micro.sequences, return_counts=True)[1].tolist()
    assert sorted(sizes) == sorted(sequence.num_sampled for sequence in batch.sequences)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_micro_batch_keeps_its_budget_padding_included(layout):
    batch = random_batch(num_groups=6, num_attempts=8, num_prompt=12)
    longest = max(sequence.num_inputs for sequence in batch.sequences)
    for budget in (longest, 64, 200):
        micros = batch.micro_batches(budget, layout=layout)
        assert all(micro.token_ids.size <= budget for micro in micros)
        assert len(micros) > 1


def test_a_sequence_over_the_budget_goes_alone():
    batch = random_batch(num_groups=2)
    micros = batch.micro_batches(1)
    assert [micro.token_ids.shape[0] for micro in micros] == [1] * len(batch.sequences)


def test_a_shared_prompt_is_computed_once():
    prompt = list(range(1, 31))
    attempts = [
        make_attempt(float(i), trajectory=make_trajectory([40 + i, 50, 51], prompt_ids=prompt))
        for i in range(8)
    ]
    batch = build_batch([make_group(attempts=tuple(attempts))])
    (micro,) = batch.micro_batches(1000, layout=Layout.SHARED)
    # 30 of the prompt, and of each reply all but the last, which predicts nothing
    assert micro.token_ids.shape == (1, 30 + 8 * 2)


def test_long_replies_to_a_short_prompt_are_not_put_in_one_row():
    attempts = [
        make_attempt(
            float(i), trajectory=make_trajectory(np.full(400, 5 + i), prompt_ids=[1, 2, 3])
        )
        for i in range(4)
    ]
    batch = build_batch([make_group(attempts=tuple(attempts))])
    (micro,) = batch.micro_batches(10_000, layout=Layout.SHARED, width=64)
    assert micro.token_ids.shape == (4, 402)
    assert micro.until is None


def test_where_masks_spare_work_rows_are_as_wide_as_a_micro_batch():
    attempts = [
        make_attempt(
            float(i), trajectory=make_trajectory(np.full(400, 5 + i), prompt_ids=[1, 2, 3])
        )
        for i in range(4)
    ]
    batch = build_batch([make_group(index=i, attempts=tuple(attempts)) for i in range(2)])
    (micro,) = batch.micro_batches(10_000, layout=Layout.FOREST, width=64)
    assert micro.token_ids.shape == (1, 2 * (3 + 4 * 399))
    assert micro.until is not None
    assert micro.document_starts is None
    # and no wider
    assert [m.token_ids.size for m in batch.micro_batches(900, layout=Layout.FOREST)] == [801] * 4
    # rows without branches are documents, of which is known where each begins
    packed, *_ = batch.micro_batches(900, layout=Layout.PACKED)
    assert packed.document_starts is not None
    assert packed.document_starts.tolist() == [0, 402, 804]
    assert packed.longest == 402


def test_turns_share_no_more_than_their_common_beginning():
    ends = [[7, 8, 20, 21, 9], [7, 8, 30, 31, 9]]
    sampled = np.array([False, False, True, True, False, False, True])
    attempts = [
        make_attempt(float(i), trajectory=make_trajectory(end, prompt_ids=[1, 2], sampled=sampled))
        for i, end in enumerate(ends)
    ]
    batch = build_batch([make_group(attempts=tuple(attempts))])
    assert batch.bundles[0].num_shared == 4
    assert asked(batch.micro_batches(99, layout=Layout.SHARED)) == wanted(batch)


def test_groups_without_signal_are_counted_and_not_trained_on():
    batch = build_batch([make_group(1, 1), make_group(1, 0), make_group(0, 0)])
    assert (batch.num_groups, batch.num_silent_groups) == (3, 2)
    assert batch.num_global_sequences == len(batch.sequences) == 2
    assert batch.num_global_tokens == 6


def test_an_attempt_that_wrote_nothing_is_left_out():
    silent = make_attempt(0.0, trajectory=make_trajectory([]))
    group = make_group(attempts=(silent, make_attempt(1.0), make_attempt(0.5)))
    batch = build_batch([group])
    assert batch.num_global_sequences == 2
    # its reward still counts in the group's mean
    assert [s.advantage for s in batch.sequences] == pytest.approx([1.2247, 0], abs=1e-3)


@given(st.integers(0, 1000), st.integers(1, 5), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_shares_of_the_ranks_make_up_the_batch(seed, num_ranks, num_groups):
    batch = random_batch(seed, num_groups, num_attempts=6)
    shares = batch.split(num_ranks)
    assert len(shares) == num_ranks
    assert sorted(t for share in shares for t in wanted(share)) == wanted(batch)
    assert {share.num_global_tokens for share in shares} == {batch.num_global_tokens}
    assert all(share.counts == batch.counts for share in shares)


def test_shares_are_balanced_by_tokens():
    batch = random_batch(num_groups=9, num_attempts=8, longest=40)
    loads = [sum(bundle.num_inputs for bundle in share.bundles) for share in batch.split(3)]
    assert max(loads) < 1.2 * min(loads)


def test_one_group_is_cut_between_ranks():
    shares = random_batch(num_groups=1, num_attempts=8).split(2)
    assert all(share.sequences for share in shares)


def test_routed_experts_follow_their_tokens():
    def routes(num_tokens: int, base: int) -> np.ndarray:
        values = base + np.arange(num_tokens)
        return np.stack([np.stack([values, values + 1], -1)] * 3, 1).astype(np.int16)

    attempts = []
    for i in range(3):
        trajectory = make_trajectory([10 + i, 11, 12], prompt_ids=range(1, 9))
        trajectory = replace(trajectory, routed_experts=routes(11, 0 if i == 0 else 100 * i))
        attempts.append(make_attempt(float(i), trajectory=trajectory))
    batch = build_batch([make_group(attempts=tuple(attempts))])
    (micro,) = batch.micro_batches(99, layout=Layout.PADDED)
    assert micro.routed_experts.shape == (3, 10, 3, 2)
    for row in range(3):
        which = int(micro.token_ids[row, 8]) - 10
        expected = routes(11, 0 if which == 0 else 100 * which)[:10]
        assert (micro.routed_experts[row] == expected).all()


def malformed(**fields) -> list:
    return [
        make_group(
            attempts=(make_attempt(1.0, trajectory=make_trajectory(**fields)), make_attempt(0.0))
        )
    ]


def test_malformed_trajectories_are_refused_by_name():
    with pytest.raises(ValueError, match=r"'17\+25'.*first token is sampled"):
        build_batch(malformed(prompt_ids=()))
    with pytest.raises(ValueError, match=r"'17\+25'.*first token is sampled"):
        build_batch(malformed(forks=((5, -1),)))
    for forks in (((5, 5),), ((9, 1),), ((6, 1), (5, 1)), ((0, -1),)):
        with pytest.raises(ValueError, match=r"'17\+25'.*is no fork of 7 tokens"):
            build_batch(malformed(forks=forks))
    with pytest.raises(ValueError, match=r"'17\+25'.*no finite behaviour"):
        build_batch(malformed(logp=float("-inf")))
    ids, starts = np.array([5, 9, 7], np.int32), np.array([0, 0, 0, 0, 0, 1, 2, 3], np.int32)
    with pytest.raises(ValueError, match=r"'17\+25'.*token 5 was sampled outside its own nucleus"):
        build_batch(malformed(kept=KeptTokens(ids=ids, starts=starts)))
