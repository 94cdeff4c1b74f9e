"""Attention over gathered keys against its definition, and what it computes no more than."""

from __future__ import annotations

import random

import pytest
import torch

from munro.kernels.attention import RowMask, attend, gathered, reference, rows
from munro.kernels.attention.attend import Asked, Way, way
from tests.kernels.trees import random_rows, shared_prompt

NEAR = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2}


def given(length: int, dtype: torch.dtype, rows: int = 1, width: int = 16) -> list[torch.Tensor]:
    """Queries, keys and values as a model's layers have them, and the gradient of what comes."""
    torch.manual_seed(length)
    shapes = [(4, 16), (2, 16), (2, width), (4, width)]
    made = [torch.randn(rows, length, *shape, dtype=dtype).transpose(1, 2) for shape in shapes]
    return [x.requires_grad_() for x in made[:3]] + made[3:]


def computed(how, leaves, grad):
    out = how(*leaves)
    return [out.detach(), *torch.autograd.grad(out, leaves, grad)]


def assert_near(got, expected, near):
    for one, other in zip(got, expected, strict=True):
        assert one.shape == other.shape
        scale = max(1.0, float(other.double().abs().max()))
        assert float((one.double() - other.double()).abs().max()) < near * scale


@pytest.mark.parametrize("dtype", NEAR, ids=str)
@pytest.mark.parametrize(
    ("rows", "length", "window", "width"),
    [(1, 1, 0, 16), (2, 70, 0, 16), (3, 130, 7, 24), (1, 600, 0, 16), (2, 530, 200, 16)],
)
def test_it_is_the_definition(rows, length, window, width, dtype):
    until, position = random_rows(random.Random(length), rows, length)
    *leaves, grad = given(length, dtype, rows, width)
    chunks = gathered.plan(until, position, window)
    seen = reference.visible(until, position, window)[:, None]
    ours = computed(lambda *x: gathered.attend(*x, chunks, scaling=0.25), leaves, grad)
    exact = [x.detach().double().requires_grad_() for x in leaves]
    defined = computed(lambda *x: reference.dense(*x, seen, scaling=0.25), exact, grad.double())
    assert_near(ours, defined, NEAR[dtype])
    again = computed(lambda *x: gathered.attend(*x, chunks, scaling=0.25), leaves, grad)
    assert all(torch.equal(one, other) for one, other in zip(ours, again, strict=True))


def test_scores_in_bfloat16_are_not_rounded_to_it():
    until, position = shared_prompt(40, 3, 30)
    query, key, value = (x.detach() for x in given(until.shape[1], torch.bfloat16)[:3])
    query = query * 32  # scores of some tens, in steps of an eighth
    chunks = gathered.plan(until, position)
    seen = reference.visible(until, position)[:, None]
    ours = gathered.attend(query, key, value, chunks, scaling=0.25)
    exact = (x.double() for x in (query, key, value))
    assert_near([ours], [reference.dense(*exact, seen, scaling=0.25)], 2**-7)


def test_autocast_changes_nothing_within():
    until, position = shared_prompt(40, 3, 30)
    *leaves, grad = given(until.shape[1], torch.bfloat16)
    chunks = gathered.plan(until, position)
    plain = computed(lambda *x: gathered.attend(*x, chunks, scaling=0.25), leaves, grad)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = computed(lambda *x: gathered.attend(*x, chunks, scaling=0.25), leaves, grad)
    assert all(torch.equal(one, other) for one, other in zip(plain, cast, strict=True))


@pytest.mark.parametrize("window", [0, 50])
def test_every_query_is_in_one_block_and_chunks_are_small(window, monkeypatch):
    monkeypatch.setattr(gathered, "PAIRS", 9000)
    until, position = random_rows(random.Random(4), 3, 900)
    chunks = gathered.plan(until, position, window)
    asked = torch.cat([chunk.queries[~chunk.absent] for chunk in chunks])
    assert sorted(asked.tolist()) == list(range(until.numel()))
    for chunk in chunks:
        blocks, queries, _ = chunk.hidden.shape
        assert queries <= gathered.QUERIES
        assert blocks == 1 or chunk.hidden.numel() <= 9000
        assert not chunk.hidden.all(-1).any()
    seen = sum(int((~chunk.hidden)[~chunk.absent].sum()) for chunk in chunks)
    assert seen == int(reference.visible(until, position, window).sum())


def test_a_prompts_replies_are_computed_with_it_and_themselves_alone():
    until, position = shared_prompt(45, 16, 31)
    pairs = gathered.num_pairs(gathered.plan(until, position))
    # 16 replies of 31 (the first goes on from the prompt), rounded up to blocks of as many
    assert pairs <= 18 * 38 * 76
    assert pairs * 7 < until.shape[1] ** 2


def test_what_would_be_too_much_is_given_up_before_it_is_made(monkeypatch):
    until, position = shared_prompt(45, 16, 31)
    most = gathered.num_pairs(gathered.plan(until, position))
    assert gathered.plan(until, position, most_pairs=most)
    monkeypatch.setattr(gathered, "_alike", None)  # nothing is put together
    assert gathered.plan(until, position, most_pairs=most // 2) == ()


def test_what_is_gathered_is_what_spares_something_and_fits_memory(monkeypatch):
    assert RowMask(*shared_prompt(45, 16, 31)).chunks(0)
    assert not RowMask(*shared_prompt(60, 1, 1)).chunks(0)  # two blocks of one sequence
    monkeypatch.setattr(rows, "MOST_KEYS", 20)
    assert not RowMask(*shared_prompt(45, 16, 31)).chunks(0)


def test_the_way_that_layers_go():
    usual = {"twin": "plain", "columns": 500, "is_plain": False, "by_lengths": False}
    asked = usual | {"gathers": lambda: True}
    assert way(Asked(**asked, changes_scores=False)) is Way.GATHERED
    assert way(Asked(**asked, changes_scores=True)) is Way.REFERENCE
    assert way(Asked(**usual, changes_scores=False)) is Way.DENSE


def test_a_layer_over_a_tree_goes_that_way(monkeypatch):
    until, position = shared_prompt(45, 16, 31)
    query, key, value = (x.detach() for x in given(until.shape[1], torch.float32)[:3])
    went = []
    made = gathered.attend
    monkeypatch.setattr(gathered, "attend", lambda *a, **k: went.append(1) or made(*a, **k))
    got = attend(query, key, value, RowMask(until, position), scaling=0.25)
    seen = reference.visible(until, position)[:, None]
    assert went
    assert_near([got], [reference.dense(query, key, value, seen, scaling=0.25)], 1e-5)
