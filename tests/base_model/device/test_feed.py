"""Arrays go to a device in one copy, made on a thread while others are worked on."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch

from munro.base_model.device.feed import ahead, moved

CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Inner:
    ids: np.ndarray
    width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    flags: np.ndarray
    inner: Inner
    parts: tuple[np.ndarray, ...]
    missing: np.ndarray | None = None


def some() -> Outer:
    rng = np.random.default_rng(0)
    return Outer(
        flags=np.array([[True, False, True]]),
        inner=Inner(rng.integers(0, 9, 7), 5),
        parts=(rng.random((2, 3)).astype(np.float32), np.zeros((0, 4), np.int16)),
    )


def test_every_array_of_a_tree_comes_over_and_all_else_stays():
    given = some()
    there = moved(given, CPU)
    assert there.missing is None
    assert there.inner.width == 5
    pairs = zip(
        (there.flags, there.inner.ids, *there.parts),
        (given.flags, given.inner.ids, *given.parts),
        strict=True,
    )
    for tensor, array in pairs:
        assert isinstance(tensor, torch.Tensor)
        assert tensor.shape == array.shape
        assert tensor.numpy().dtype == array.dtype
        assert np.array_equal(tensor.numpy(), array)


def test_it_is_one_copy_and_what_was_given_may_change_afterwards():
    given = some()
    there = moved(given, CPU)
    tensors = (there.flags, there.inner.ids, there.parts[0])
    assert len({tensor.untyped_storage().data_ptr() for tensor in tensors}) == 1
    given.inner.ids[:] = -1
    assert (there.inner.ids >= 0).all()


def test_the_next_is_made_while_this_one_is_worked_on_and_no_further_one():
    made: list[int] = []
    begun = [threading.Event() for _ in range(4)]

    def make(number: int) -> int:
        begun[number].set()
        made.append(number)
        return number

    feed = ahead([partial(make, number) for number in range(4)], CPU)
    for number in range(3):
        assert next(feed) == number
        # without being asked for, on a thread
        assert begun[number + 1].wait(5)
        assert made == [*range(number + 2)]
    assert list(feed) == [3]
    assert list(ahead([], CPU)) == []


def test_what_a_maker_raises_is_raised_where_its_work_is_asked_for():
    def broken() -> int:
        raise ValueError("no rows")

    feed = ahead([lambda: 1, broken], CPU)
    assert next(feed) == 1
    with pytest.raises(ValueError, match="no rows"):
        next(feed)


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore::UserWarning")  # of the compiler and of torch's debug mode
def test_on_a_gpu_the_host_does_not_wait_for_a_copy():
    device = torch.device("cuda")
    moved(some(), device)
    torch.cuda.set_sync_debug_mode("error")
    try:
        there = moved(some(), device)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert np.array_equal(there.inner.ids.cpu().numpy(), some().inner.ids)
