"""Which gradients may be added where they belong, and that they are the same there."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from munro.kernels.gradient import gives_rows, grad_of
from tests.rounding import assert_near


def made(**options) -> nn.Embedding:
    torch.manual_seed(0)
    return nn.Embedding(11, 4, **options)


@pytest.mark.parametrize("padding", [None, 3])
def test_rows_that_are_added_are_the_whole_gradient(padding):
    plain, sparse = made(padding_idx=padding), made(padding_idx=padding)
    sparse.load_state_dict(plain.state_dict())
    assert gives_rows(sparse)
    sparse.sparse = True
    grad_of(sparse.weight)
    ids = torch.tensor([[0, 3, 3, 10], [3, 1, 0, 0]])
    for number in (1.0, 2.5):
        slopes = torch.arange(32.0).view(2, 4, 4).sin() * number
        for one in (plain, sparse):
            (one(ids) * slopes).sum().backward()
    assert sparse.weight.grad.layout == torch.strided
    assert_near(sparse.weight.grad, plain.weight.grad, terms=8 * 2)


def test_frozen_half_precise_bounded_and_weighed_embeddings_do_not_give_rows():
    frozen = made()
    frozen.weight.requires_grad = False
    assert not gives_rows(frozen)
    assert not gives_rows(made(dtype=torch.bfloat16))
    assert not gives_rows(made(max_norm=1.0))
    assert not gives_rows(made(scale_grad_by_freq=True))
    assert not gives_rows(made(device="meta"))
    assert not gives_rows(nn.Linear(4, 11))
