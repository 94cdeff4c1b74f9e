"""Messages of boxes: their bytes, their checksums, and the memory that they lie in."""

from __future__ import annotations

import gc
from functools import reduce

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from munro.rollout.transfer.packing import (
    NEAR,
    Buffers,
    Corrupt,
    _folded,
    checksum,
    message_bytes,
    pack,
    unpack,
)
from munro.rollout.transfer.types import Box, Move

CPU = torch.device("cpu")


def words(number: int) -> torch.Tensor:
    return torch.randint(-(2**63), 2**63 - 1, (number,), dtype=torch.int64)


def by_hand(numbers: list[int]) -> list[int]:
    total = (sum(numbers) + 2**63) % 2**64 - 2**63
    return [total, reduce(int.__xor__, numbers, 0)]


@pytest.mark.parametrize("number", [0, 1, 2, 3, 7, NEAR - 1, NEAR, NEAR + 1, 3 * NEAR + 5])
def test_a_checksum_is_the_sum_and_the_exclusive_or_of_all_words(number):
    some = words(number)
    assert checksum(some.view(torch.uint8)).tolist() == by_hand(some.tolist())


@pytest.mark.parametrize("number", [0, 1, 2, 1001, 1024])
def test_an_accelerator_adds_up_the_same_by_folding(number):
    some = words(number)
    assert torch.equal(_folded(some), checksum(some.view(torch.uint8)))


def moves(*sizes: int) -> list[Move]:
    return [
        Move(
            name=f"w{n}",
            source=0,
            target=0,
            box=Box.whole((size,)),
            dtype="float32",
            bytes=4 * size,
            part=n,
        )
        for n, size in enumerate(sizes)
    ]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(0, 2**20))
def test_what_is_unpacked_is_what_was_packed_and_no_bit_of_it_may_change(sizes, which):
    tensors = {f"w{n}": torch.randn(size) for n, size in enumerate(sizes)}
    carried, buffers = moves(*sizes), Buffers(CPU)
    message = pack(carried, lambda name, _: tensors[name], buffers)
    assert len(message) == message_bytes(carried)
    for move, tensor in unpack(carried, message):
        assert torch.equal(tensor, tensors[move.name])
    byte = which % len(message)
    message[byte] ^= 1 << which % 8
    with pytest.raises(Corrupt, match="arrived from rank 0 other than it was sent"):
        list(unpack(carried, message))


def test_a_buffer_that_nobody_gives_back_goes_with_its_last_user():
    buffers = Buffers(CPU)
    at = buffers.take(12_345).data_ptr()
    gc.collect()
    held = [one for one in gc.get_objects() if type(one) is torch.Tensor]
    assert not [one for one in held if one.data_ptr() == at and len(one) == 12_345]


def test_a_buffer_is_used_again_once_it_was_given_back_and_not_before():
    buffers = Buffers(CPU)
    one, other = buffers.take(100), buffers.take(200)
    assert one.data_ptr() != other.data_ptr()
    at = other.data_ptr()
    buffers.give(other)
    again = buffers.take(150)
    assert (again.data_ptr(), len(again)) == (at, 150)
    assert buffers.take(150).data_ptr() not in (at, one.data_ptr())
    buffers.give(again)
    assert buffers.take(200).data_ptr() == at
