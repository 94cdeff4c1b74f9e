"""Tensors come to the host through two buffers, in their order, each a copy of its own."""

from __future__ import annotations

import pytest
import torch

from munro.base_model.device.fetch import fetched

SHAPES = [(3, 5), (7,), (40, 40), (), (0, 4), (16, 16), (300,), (2, 2)]


def some(device: str = "cpu") -> list[tuple[str, torch.Tensor]]:
    kinds = [torch.float32, torch.bfloat16, torch.int64]
    return [
        (
            f"t{number}",
            torch.arange(max(1, torch.Size(shape).numel()), device=device)[
                : torch.Size(shape).numel()
            ]
            .reshape(shape)
            .to(kinds[number % 3])
            + number,
        )
        for number, shape in enumerate(SHAPES)
    ]


def assert_same(told, given) -> None:
    assert [name for name, _ in told] == [name for name, _ in given]
    for (name, ours), (_, theirs) in zip(told, given, strict=True):
        assert ours.device.type == "cpu"
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs.cpu()), name


# a bucket of one tensor, of a few, of all
@pytest.mark.parametrize("bucket", [1, 1000, 1 << 20])
def test_whatever_a_bucket_holds_they_come_in_order_and_whole(bucket):
    given = some()
    told = list(fetched(iter(given), bucket=bucket, at="cpu"))
    assert_same(told, given)
    for (_, ours), (_, theirs) in zip(told, given, strict=True):
        if ours.numel():
            assert ours.data_ptr() != theirs.data_ptr()
    # nor do they share memory with one another: each can outlive the others
    places = [tensor.untyped_storage().data_ptr() for _, tensor in told if tensor.numel()]
    assert len({*places}) == len(places)


def test_what_is_on_the_host_already_is_not_copied():
    given = some()
    told = list(fetched(given))
    assert all(ours is theirs for (_, ours), (_, theirs) in zip(told, given, strict=True))


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore::UserWarning")  # of the compiler and of torch's debug mode
@pytest.mark.parametrize("bucket", [1, 1000, 1 << 20])
def test_from_a_gpu_too(bucket):
    given = some("cuda")
    assert_same(list(fetched(iter(given), bucket=bucket)), given)
