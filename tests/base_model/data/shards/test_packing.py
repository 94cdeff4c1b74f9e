"""Packing loses nothing, mixes nothing and can be taken up anywhere."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from munro.base_model.data.shards.packing import (
    NO_DOCUMENT,
    Cursor,
    Lesson,
    attention_mask,
    has_target,
    pack,
)
from tests.rounding import assert_near, depth

LENGTHS = st.lists(st.integers(1, 23), min_size=1, max_size=12)


def corpus(lengths: list[int]):
    """Endless documents of these lengths, in turn; every token of a document carries its index."""
    return lambda index: [index] * lengths[index % len(lengths)]


def test_documents_kept_apart_begin_a_new_row_rather_than_be_cut():
    rows, cursor = pack(corpus([3, 4, 2]), Cursor(), rows=2, row_tokens=8, apart=True)
    assert rows.token_ids.tolist() == [[0, 0, 0, 1, 1, 1, 1, 0], [2, 2, 3, 3, 3, 0, 0, 0]]
    assert rows.documents.tolist() == [[0, 0, 0, 1, 1, 1, 1, -1], [0, 0, 1, 1, 1, -1, -1, -1]]
    assert rows.positions.tolist() == [[0, 1, 2, 0, 1, 2, 3, 0], [0, 1, 0, 1, 2, 0, 0, 0]]
    assert cursor == Cursor(document=4)
    assert rows.num_tokens == 12


def test_a_stream_has_no_gaps_and_is_cut_at_the_end_of_a_row():
    rows, cursor = pack(corpus([3, 4, 2]), Cursor(), rows=2, row_tokens=5, apart=False)
    assert rows.token_ids.tolist() == [[0, 0, 0, 1, 1], [1, 1, 2, 2, 3]]
    assert (rows.documents == 0).all()
    assert rows.positions.tolist() == [[0, 1, 2, 3, 4]] * 2
    assert cursor == Cursor(document=3, offset=1)


def test_a_document_longer_than_a_row_is_cut_into_pieces():
    rows, cursor = pack(corpus([11]), Cursor(), rows=2, row_tokens=8, apart=True)
    assert rows.token_ids.tolist() == [[0] * 8, [0] * 3 + [0] * 5]
    assert rows.documents.tolist() == [[0] * 8, [0] * 3 + [NO_DOCUMENT] * 5]
    assert cursor == Cursor(document=1)


def test_a_lesson_keeps_what_is_learned_beside_its_tokens_and_other_documents_are_learned_whole():
    lesson = Lesson([7, 8, 9, 10], [False, False, True, True])
    documents = [[5, 6], lesson, lesson].__getitem__
    rows, _ = pack(documents, Cursor(), rows=1, row_tokens=8, apart=True)
    assert rows.token_ids.tolist() == [[5, 6, 7, 8, 9, 10, 0, 0]]
    assert rows.learned.tolist() == [[True, True, False, False, True, True, False, False]]


def test_a_lesson_that_is_cut_is_cut_in_both():
    lesson = Lesson([7, 8, 9, 10], [False, True, False, True])
    rows, _ = pack(lambda _: lesson, Cursor(), rows=2, row_tokens=3, apart=False)
    assert rows.token_ids.tolist() == [[7, 8, 9], [10, 7, 8]]
    assert rows.learned.tolist() == [[False, True, False], [True, False, True]]


@settings(max_examples=40)
@given(lengths=LENGTHS, apart=st.booleans(), batches=st.integers(1, 4))
def test_every_token_is_read_once_and_in_order(lengths: list[int], apart: bool, batches: int):
    cursor, seen = Cursor(), []
    for _ in range(batches):
        rows, cursor = pack(corpus(lengths), cursor, rows=3, row_tokens=9, apart=apart)
        seen += rows.token_ids[rows.documents != NO_DOCUMENT].tolist()
    expected = [token for index in range(cursor.document) for token in corpus(lengths)(index)]
    assert seen == expected + [cursor.document] * cursor.offset


@settings(max_examples=40)
@given(lengths=LENGTHS, apart=st.booleans())
def test_two_batches_are_one_batch_of_twice_the_rows(lengths: list[int], apart: bool):
    both, end = pack(corpus(lengths), Cursor(), rows=4, row_tokens=9, apart=apart)
    first, cursor = pack(corpus(lengths), Cursor(), rows=2, row_tokens=9, apart=apart)
    second, cursor = pack(corpus(lengths), cursor, rows=2, row_tokens=9, apart=apart)
    assert cursor == end
    assert (np.concatenate([first.token_ids, second.token_ids]) == both.token_ids).all()


def test_nothing_is_predicted_across_documents_nor_into_padding():
    documents = torch.tensor([[0, 0, 1, 1, 1, NO_DOCUMENT, NO_DOCUMENT]])
    assert has_target(documents).tolist() == [[True, False, True, True, False, False]]


def test_packed_documents_get_the_logits_they_get_alone():
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=40,
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=1,
        )
    )
    first, second = [5, 6, 7, 8], [9, 10, 11]
    rows, _ = pack([first, second].__getitem__, Cursor(), rows=1, row_tokens=7, apart=True)
    mask = attention_mask(torch.from_numpy(rows.documents), torch.float32)
    with torch.no_grad():
        packed = model(
            input_ids=torch.from_numpy(rows.token_ids),
            attention_mask=mask,
            position_ids=torch.from_numpy(rows.positions),
        ).logits[0]
        alone = [model(input_ids=torch.tensor([ids])).logits[0] for ids in (first, second)]
    assert_near(packed, torch.cat(alone), depth(model, 7))
