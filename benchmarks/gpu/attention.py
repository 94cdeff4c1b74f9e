"""Attention over a tree of one prompt and twelve replies, and over a window: without all pairs.

Three ways for the tree: our masks by FlexAttention, the mask of all pairs that one would write
first, and flash attention over the same replies with the prompt repeated for each.
"""

from __future__ import annotations

from functools import partial

import torch
from gpu.rows import Rows, Subject, compare, device_of, random
from torch import Tensor
from torch.nn import functional as F

from munro.kernels.attention import RowMask, attend, tree_mask
from munro.kernels.attention.fused import by_lengths

HEADS, KV_HEADS, WIDTH = 16, 8, 128


def run(rows: Rows, *, smoke: bool) -> None:
    device = device_of(smoke=smoke)
    _tree(rows, device, smoke=smoke)
    _window(rows, device, smoke=smoke)


def _tree(rows: Rows, device: torch.device, *, smoke: bool) -> None:
    prompt, reply, number = (64, 32, 3) if smoke else (2048, 512, 12)
    length = prompt + reply * number
    of_reply = torch.arange(1, number + 1) * reply + prompt
    until = torch.cat([torch.full((prompt,), length), of_reply.repeat_interleave(reply)])
    at = torch.cat([torch.arange(prompt), (torch.arange(reply) + prompt).repeat(number)])
    until_RL, position_RL = (x.to(device, torch.int32)[None] for x in (until, at))
    given = _given(length, device)
    pairs = prompt * (prompt + 1) / 2 + number * (reply * prompt + reply * (reply + 1) / 2)
    mask = RowMask(until_RL, position_RL, windows=(0,))

    def made_anew() -> Tensor:
        fresh = RowMask(until_RL, position_RL, windows=(0,))
        return attend(*given, fresh, scaling=WIDTH**-0.5)

    def dense() -> Tensor:
        all_pairs = tree_mask(until_RL, given[0].dtype)
        return F.scaled_dot_product_attention(*given, attn_mask=all_pairs, enable_gqa=True)

    subjects = {
        "munro": _both(given, lambda: attend(*given, mask, scaling=WIDTH**-0.5)),
        "munro, its mask made too": _both(given, made_anew),
        "mask of all pairs": _both(given, dense),
        "plain causal, no tree": _both(
            given,
            lambda: F.scaled_dot_product_attention(*given, is_causal=True, enable_gqa=True),
        ),
    }
    if not smoke:
        subjects["prompt repeated, by lengths"] = _repeated(prompt + reply, number, device)
    what = f"tree P={prompt} {number}x{reply}"
    flops = 3.5 * 4 * pairs * HEADS * WIDTH  # two products forward, five backward
    compare(rows, what, subjects, smoke=smoke, flops=flops)
    _agrees(rows, what, subjects, given)


def _window(rows: Rows, device: torch.device, *, smoke: bool) -> None:
    length, window = (256, 32) if smoke else (16_384, 512)
    until_RL = torch.full((1, length), length, dtype=torch.int32, device=device)
    position_RL = torch.arange(length, dtype=torch.int32, device=device)[None]
    given = _given(length, device)
    mask = RowMask(until_RL, position_RL, windows=(window,))
    far = torch.arange(length, device=device)
    near = (far[:, None] >= far) & (far[:, None] - far < window)

    def dense() -> Tensor:
        return F.scaled_dot_product_attention(*given, attn_mask=near, enable_gqa=True)

    subjects = {
        "munro": _both(given, lambda: attend(*given, mask, scaling=WIDTH**-0.5, window=window)),
        "mask of all pairs": _both(given, dense),
    }
    flops = 3.5 * 4 * length * window * HEADS * WIDTH
    what = f"window {window} of {length}"
    compare(rows, what, subjects, smoke=smoke, flops=flops)
    _agrees(rows, what, subjects, given)


def _given(length: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of one row."""
    made = partial(random, device=device, grad=True)
    query = made(1, HEADS, length, WIDTH)
    return query, made(1, KV_HEADS, length, WIDTH), made(1, KV_HEADS, length, WIDTH)


def _both(given: tuple[Tensor, ...], forward: partial[Tensor] | object) -> Subject:
    """Forward and backward."""

    def call() -> Tensor:
        for leaf in given:
            leaf.grad = None
        out: Tensor = forward()  # type: ignore[operator]
        out.float().square().sum().backward()  # type: ignore[no-untyped-call]
        return out

    return call


def _repeated(length: int, number: int, device: torch.device) -> Subject:
    given = _given(length * number, device)
    ends = torch.arange(number + 1, dtype=torch.int32, device=device) * length
    if given[0].shape[1] != given[1].shape[1]:
        each = HEADS // KV_HEADS
        query, key, value = given
        given = (
            query,
            *(x.detach().repeat_interleave(each, 1).requires_grad_() for x in (key, value)),
        )
    return _both(given, lambda: by_lengths(*given, ends, length, window=0, scaling=WIDTH**-0.5))


def _agrees(rows: Rows, what: str, subjects: dict[str, Subject], given: tuple[Tensor, ...]) -> None:
    """The outputs and gradients of ours against those of all pairs, and twice the same bits."""
    found = {}
    for name, subject in (
        ("munro", subjects["munro"]),
        ("again", subjects["munro"]),
        ("dense", subjects["mask of all pairs"]),
    ):
        out = subject()
        assert isinstance(out, Tensor)
        grads = [leaf.grad.clone() for leaf in given if leaf.grad is not None]
        found[name] = [out.detach(), *grads]
    off = max(
        float((ours - theirs).float().norm() / theirs.float().norm())
        for ours, theirs in zip(found["munro"], found["dense"], strict=True)
    )
    same = all(map(torch.equal, found["munro"], found["again"]))
    rows.note(what=what, relative_to_all_pairs=off, same_bits_twice=same)
