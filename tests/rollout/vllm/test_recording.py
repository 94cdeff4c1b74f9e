"""A loader is watched on tensors without values; what was learnt must do what the loader does."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from munro.rollout.vllm.recording import MOST_BOXES, Recorder, Strided, boxes, written

Loader = Callable[[Tensor, Mapping[str, Tensor]], object]
Shapes = Mapping[str, tuple[int, ...]]


def watched(load: Loader, shapes: Shapes, shape: tuple[int, ...]) -> Recorder[str]:
    sources = {name: torch.empty(size, device="meta") for name, size in shapes.items()}
    parameter = torch.empty(shape, device="meta")
    with Recorder(sources, {"p": parameter}) as recorder:
        load(parameter, sources)
    return recorder


def replayed(recorder: Recorder[str], real: Mapping[str, Tensor], shape: tuple[int, ...]) -> Tensor:
    out = torch.full(shape, -1.0)
    for at, value in recorder.fills["p"]:
        at.view(out).fill_(value)
    for landing in recorder.landings["p"]:
        landing.at.view(out).copy_(real[landing.name][landing.box.slices])
    return out


def fused(p: Tensor, s: Mapping[str, Tensor]) -> None:
    p.narrow(0, 0, 8).copy_(s["q"].narrow(0, 8, 8))
    p.narrow(0, 8, 4).copy_(s["k"].chunk(2)[1])
    p[12:].copy_(s["v"][4:])


def padded(p: Tensor, s: Mapping[str, Tensor]) -> None:
    p[:5].copy_(s["a"])
    p[5:].fill_(0.5)


@pytest.mark.parametrize(
    ("load", "shapes", "shape", "num"),
    [
        (fused, {"q": (16, 6), "k": (8, 6), "v": (8, 6)}, (16, 6), 3),
        (padded, {"a": (5, 7)}, (8, 7), 1),
        (lambda p, s: p.copy_(s["a"].t()), {"a": (5, 7)}, (7, 5), 1),
        (lambda p, s: p[2].copy_(s["a"].t().contiguous()[:, 1:4]), {"a": (5, 7)}, (4, 7, 3), 1),
        (
            lambda p, s: p.copy_(s["a"].view(3, 2, 5, 7)[:, 1].flatten(0, 1)),
            {"a": (30, 7)},
            (15, 7),
            3,
        ),
        (lambda p, s: p.copy_(s["a"]), {"a": (1, 7)}, (4, 7), 4),
        (lambda p, s: p.copy_(s["a"].view(())), {"a": (1,)}, (), 1),
        (
            lambda p, s: p.copy_(s["a"].view(2, 2, 3, 5).permute(1, 0, 3, 2).reshape(4, 15)),
            {"a": (4, 15)},
            (4, 15),
            6,
        ),
    ],
    ids=[
        "fused",
        "padded",
        "transposed",
        "expert",
        "interleaved",
        "repeated",
        "scalar",
        "permuted",
    ],
)
def test_replay_does_what_the_loader_does(
    load: Loader, shapes: Shapes, shape: tuple[int, ...], num: int
) -> None:
    recorder = watched(load, shapes, shape)
    assert not recorder.spoiled
    assert len(recorder.landings["p"]) == num
    real = {
        name: torch.arange(1000 * i, 1000 * i + torch.Size(size).numel()).view(size).float()
        for i, (name, size) in enumerate(shapes.items(), 1)
    }
    wanted = torch.full(shape, -1.0)
    load(wanted, real)
    assert torch.equal(replayed(recorder, real, shape), wanted)


@pytest.mark.parametrize(
    "load",
    [
        lambda p, s: p.copy_(s["a"] + 1),
        lambda p, s: p.copy_(torch.cat([s["a"][:2], s["b"][2:]])),
        lambda p, s: p.copy_(s["a"]).mul_(s["b"]),
        lambda p, s: (p.copy_(s["a"] + s["b"]), p.copy_(p.exp())),
        lambda p, s: p.copy_(s["a"].to(torch.bfloat16)),
        lambda p, s: (p.copy_(s["a"] * s["b"]), p.zero_()),
    ],
    ids=["computed", "concatenated", "changed", "composed", "rounded", "over again"],
)
def test_values_that_are_no_box_are_said_with_where_they_come_from(load: Loader) -> None:
    recorder = watched(load, {"a": (4, 3), "b": (4, 3)}, (4, 3))
    assert recorder.spoiled["p"]
    read = recorder.spoiled["p"] | {landing.name for landing in recorder.landings["p"]}
    real = {name: torch.rand(4, 3) for name in ("a", "b")}
    before, after = torch.zeros(4, 3), torch.zeros(4, 3)
    load(before, real)
    load(after, {name: real[name] if name in read else torch.zeros(4, 3) for name in real})
    assert torch.equal(before, after)  # nothing else was looked at


def test_a_parameter_with_values_keeps_them() -> None:
    source, kept = torch.empty(4, device="meta"), torch.arange(4.0)
    with Recorder({"a": source}, {"bias": kept}) as recorder:
        kept.copy_(source)
        kept.zero_()
    assert torch.equal(kept, torch.arange(4.0))
    (landing,) = recorder.landings["bias"]
    assert (landing.box.start, landing.box.stop) == ((0,), (4,))


def test_a_pattern_too_fine_for_boxes_is_not_followed() -> None:
    num = MOST_BOXES + 1
    recorder = watched(lambda p, s: p.copy_(s["a"][::2]), {"a": (2 * num,)}, (num,))
    assert recorder.spoiled["p"] == {"a"}
    assert not recorder.landings["p"]


@st.composite
def copies(draw: st.DrawFn) -> tuple[tuple[int, ...], Strided, Strided]:
    """Any view of a tensor, copied to any other arrangement of a storage."""
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=4)))
    view = torch.empty(shape, device="meta")
    for _ in range(draw(st.integers(0, 4))):
        dim = draw(st.integers(0, view.ndim - 1))
        match draw(st.sampled_from(["narrow", "step", "transpose", "flatten", "split"])):
            case "narrow":
                start = draw(st.integers(0, view.shape[dim] - 1))
                view = view.narrow(dim, start, draw(st.integers(1, view.shape[dim] - start)))
            case "step":
                view = view[(slice(None),) * dim + (slice(None, None, 2),)]
            case "transpose":
                view = view.transpose(dim, draw(st.integers(0, view.ndim - 1)))
            case "flatten" if view.is_contiguous():
                view = view.view(-1)
            case "split" if view.shape[dim] % 2 == 0:
                view = view.unflatten(dim, (2, -1))
    order = draw(st.permutations(range(view.ndim)))
    target = torch.empty([view.shape[i] for i in order], device="meta")
    back = sorted(range(view.ndim), key=lambda i: order[i])
    return shape, Strided.of(view), Strided.of(target.permute(back)).moved(3)


@settings(max_examples=300, deadline=None)
@given(copies())
def test_boxes_of_any_strided_copy_are_that_copy(
    copy: tuple[tuple[int, ...], Strided, Strided],
) -> None:
    shape, read, write = copy
    source = torch.arange(torch.Size(shape).numel()).view(shape)
    size = torch.Size(read.shape).numel() + 3
    wanted, got = torch.full((size,), -1), torch.full((size,), -1)
    write.view(wanted).copy_(read.view(source.view(-1)))
    parts = list(boxes(shape, read, write))
    for box, at in parts:
        assert at.shape == box.shape
        at.view(got).copy_(source[box.slices])
    assert torch.equal(got, wanted)
    assert sum(box.size for box, _ in parts) == torch.Size(read.shape).numel()
    assert written(size - 3, [at.moved(-3) for _, at in parts]) == (1, 1)
