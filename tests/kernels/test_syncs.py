"""The count of synchronising operators misses none of the kind and counts no other."""

from __future__ import annotations

import pytest
import torch

from tests.syncs import Synchronisations

VALUES = torch.arange(6.0)
COUNTS = torch.tensor([1, 0, 2])

WAITING = {
    "float": lambda: float(VALUES.sum()),
    "int": lambda: int(COUNTS.sum()),
    "bool": lambda: bool((VALUES > 2).all()),
    "item": lambda: VALUES[0].item(),
    "tolist": lambda: COUNTS.tolist(),
    "cpu": lambda: VALUES.cpu(),
    "nonzero": lambda: VALUES.nonzero(),
    "where of one": lambda: torch.where(VALUES > 1),
    "boolean index": lambda: VALUES[VALUES > 1],
    "boolean assignment": lambda: VALUES.clone().__setitem__(VALUES > 1, VALUES[:4]),
    "masked_select": lambda: VALUES.masked_select(VALUES > 1),
    "bincount": lambda: COUNTS.bincount(),
    "unique": lambda: COUNTS.unique(),
    "repeat_interleave": lambda: COUNTS.repeat_interleave(COUNTS),
    "equal": lambda: torch.equal(VALUES, VALUES),
}
FLOWING = {
    "index": lambda: VALUES[COUNTS],
    "masked_fill": lambda: VALUES.masked_fill(VALUES > 1, 0.0),
    "where": lambda: torch.where(VALUES > 1, VALUES, 0.0),
    "repeat_interleave": lambda: COUNTS.repeat_interleave(COUNTS, output_size=3),
    "index_add": lambda: VALUES.index_add(0, COUNTS, VALUES[:3]),
    "sort": lambda: VALUES.sort(),
}


@pytest.mark.parametrize("call", WAITING.values(), ids=WAITING)
def test_what_waits_is_counted(call):
    with Synchronisations() as found:
        call()
    assert found.total > 0


@pytest.mark.parametrize("call", FLOWING.values(), ids=FLOWING)
def test_what_does_not_wait_is_not(call):
    with Synchronisations() as found:
        call()
    assert found.total == 0, found.counts


def test_the_backward_pass_is_counted_too():
    leaf = torch.ones(3, requires_grad=True)

    class Peeking(torch.autograd.Function):
        @staticmethod
        def forward(ctx, given):
            return given.clone()

        @staticmethod
        def backward(ctx, grad):
            return grad * float(grad.sum())

    with Synchronisations() as found:
        Peeking.apply(leaf).sum().backward()
    assert found.counts == {"_local_scalar_dense": 1}
