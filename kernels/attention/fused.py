"""What NVIDIA's GPUs have for masks that skip work: FlexAttention, and flash attention by lengths.

FlexAttention is compiled once for every shape (`dynamic=True`), never searched for the fastest
(`max-autotune`): a search finds something else each time, and its bits differ.

Shape letters: as in `reference`; N = documents of all rows together.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import AuxRequest, BlockMask, flex_attention

from munro.kernels.attention.masks import BLOCK

GRAPHS = 64
"""Compiled at most: dtypes, head counts, one row or several, with and without a window, gradient,
soft cap or sinks."""


def flex(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: BlockMask,
    *,
    scaling: float,
    softcap: float = 0.0,
    sinks: Tensor | None = None,
) -> Tensor:
    """[R, H, L, E]; arguments as `reference.dense` has them.

    Raises:
        torch.compiler's own errors: it never falls back to scores of all pairs.
    """
    times = scaling * query.shape[3] ** 0.5
    if abs(times - 1) > 1e-6:
        query = query * times
    if not torch.compiler.is_compiling():
        out: Tensor = _compiled()(query, key, value, mask, str(softcap), sinks)
        return out
    if softcap:
        return _apart(query, key, value, mask, softcap, sinks)  # type: ignore[no-any-return]
    return _flex(query, key, value, mask, "0.0", sinks)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _apart(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: BlockMask,
    softcap: float,
    sinks: Tensor | None,
) -> Tensor:
    """In a graph of its own: in that of a layer the cap would be a symbol."""
    out: Tensor = _compiled()(query, key, value, mask, str(softcap), sinks)
    return out


def _flex(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: BlockMask,
    softcap: str,
    sinks: Tensor | None,
) -> Tensor:
    """In terms that compiling for every shape leaves numbers: it makes symbols of the others.

    Heads and their width are told to be fixed, the scale is that of the width, the block size is
    written out, and the cap is a string.
    """
    for x in (query, key, value):
        torch._dynamo.mark_static(x, 1)
        torch._dynamo.mark_static(x, 3)
    mask = BlockMask(
        seq_lengths=(query.shape[2], key.shape[2]),
        kv_num_blocks=mask.kv_num_blocks,
        kv_indices=mask.kv_indices,
        full_kv_num_blocks=mask.full_kv_num_blocks,
        full_kv_indices=mask.full_kv_indices,
        q_num_blocks=mask.q_num_blocks,
        q_indices=mask.q_indices,
        full_q_num_blocks=mask.full_q_num_blocks,
        full_q_indices=mask.full_q_indices,
        BLOCK_SIZE=(128, 128),
        mask_mod=mask.mask_mod,
    )
    most = float(softcap)

    def capped(score: Tensor, *_: Tensor) -> Tensor:
        return most * torch.tanh(score / most)

    told: Any = flex_attention(
        query,
        key,
        value,
        score_mod=capped if most else None,
        block_mask=mask,
        scale=query.shape[3] ** -0.5,
        enable_gqa=bool(query.shape[1] != key.shape[1]),
        return_aux=AuxRequest(lse=True) if sinks is not None else None,
    )
    if sinks is None:
        out: Tensor = told
        return out
    mixed: Tensor = told[0]
    lse: Tensor = told[1].lse
    # a key more in the sum: e^lse / (e^lse + e^sink)
    share = torch.sigmoid(lse - sinks.to(lse.dtype).view(1, -1, 1))
    return mixed * share[..., None].to(mixed.dtype)


assert BLOCK == 128


@cache
def _compiled() -> Callable[..., Tensor]:
    """`_flex` in one graph, or an error; torch then keeps as many as a learner asks for."""
    import torch._dynamo

    config = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, GRAPHS)
    return torch.compile(_flex, dynamic=True, fullgraph=True)


def by_lengths(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    starts_N: Tensor,
    longest: int,
    *,
    window: int,
    scaling: float,
) -> Tensor:
    """[R, H, L, E] by flash attention, each document causally for itself; 16-bit types.

    Args:
        query: [R, H, L, E]
        key: [R, G, L, E]
        value: [R, G, L, E]
        starts_N: int32 (N + 1,) where each begins in the R * L tokens, and their number.
        longest: tokens of the longest.
        window: 0 for none.
        scaling: scores are multiplied by it.
    """
    from torch.nn.attention import varlen

    attend: Any = varlen.varlen_attn  # its signature is not the same in every torch
    flat = [x.transpose(1, 2).flatten(0, 1) for x in (query, key, value)]
    flat_out: Tensor = attend(
        *flat,
        starts_N,
        starts_N,
        longest,
        longest,
        scale=scaling,
        **_how(window, bool(query.shape[1] != key.shape[1])),
    )
    rows, length = query.shape[0], query.shape[2]
    return flat_out.view(rows, length, *flat_out.shape[1:]).transpose(1, 2)


def _how(window: int, shares_keys: bool) -> dict[str, Any]:
    """Causality, window and shared keys in the words of the torch at hand."""
    how: dict[str, Any] = {}
    if CAN_WINDOW:
        how["window_size"] = (window - 1 if window else -1, 0)
    else:
        how["is_causal"] = True
    if shares_keys:
        how["enable_gqa"] = True
    return how


def lengths_words() -> frozenset[str]:
    """The arguments that this torch's `varlen_attn` takes; none where it has none."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return frozenset()
    return frozenset(inspect.signature(varlen_attn).parameters)


_WORDS = lengths_words()
CAN_WINDOW = "window_size" in _WORDS
CAN_SHARE_KEYS = "enable_gqa" in _WORDS
CAN_LENGTHS = "scale" in _WORDS and (CAN_WINDOW or "is_causal" in _WORDS)


def takes_lengths(query: Tensor, key: Tensor, value: Tensor, window: int) -> bool:
    """Whether `by_lengths` can do it here."""
    width = query.shape[-1]
    return (
        query.dtype in (torch.float16, torch.bfloat16)
        and width == value.shape[-1]
        and width <= 256
        and width % 8 == 0
        and CAN_LENGTHS
        and (CAN_WINDOW or not window)
        and (CAN_SHARE_KEYS or bool(query.shape[1] == key.shape[1]))
    )
