"""What vLLM returned, as completions: tokens, what each was drawn from, and by which weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from munro.envs.types import KeptTokens
from munro.rewards.errors import PolicyError
from munro.rollout.engine import Completion, Request

if TYPE_CHECKING:
    from vllm.outputs import RequestOutput


def completion(
    done: RequestOutput,
    request: Request,
    *,
    num_mixtures: int | None = None,
    version: int | None = None,
) -> Completion:
    """Read what vLLM returned for `request`.

    Args:
        done: finished.
        request: what was asked.
        num_mixtures: layers of routed experts to keep, the first ones; all by default.
        version: of the adapter that answered; None where vLLM says which weights did.

    Raises:
        PolicyError: it ended otherwise than by a stop token or a limit.
    """
    (out,) = done.outputs
    T = len(out.token_ids)
    if out.finish_reason not in ("stop", "length"):
        raise PolicyError(f"request {request.key} ended as {out.finish_reason!r}")
    width = len(out.logprobs.logprobs) // T
    # one row a token: the sampled one first, then the candidates, most probable first
    ids = np.array(out.logprobs.token_ids, np.int32).reshape(T, width)
    logp = np.array(out.logprobs.logprobs, np.float32).reshape(T, width)
    is_kept = np.isfinite(logp[:, 1:])
    num_kept = is_kept.sum(axis=1)
    starts = np.zeros(T + 1, np.int32)
    np.cumsum(num_kept, out=starts[1:])
    versions = np.full(T, version or 0, np.int32)
    spans = (out.weight_versions or ()) if version is None else ()
    for span in spans:
        versions[span.start : span.end] = int(span.version)
    return Completion(
        token_ids=ids[:, 0].copy(),
        logp=logp[:, 0].copy(),
        kept=KeptTokens(ids=ids[:, 1:][is_kept], starts=starts),
        versions=versions,
        stopped=out.finish_reason == "stop",
        num_cut=int((num_kept == request.top_k).sum()) if request.top_k else 0,
        routed_experts=routing(
            out.routed_experts, len(request.prompt_ids) + T, num_mixtures, request.routed_from
        ),
    )


def routing(
    experts: NDArray[Any] | None, num_tokens: int, num_mixtures: int | None, start: int = 0
) -> NDArray[np.int16] | None:
    """The experts of every token from `start` on: all but the last was read, which gets -1.

    Raises:
        PolicyError: vLLM reported another number of tokens.
    """
    if experts is None:
        return None
    if len(experts) != num_tokens - 1:
        raise PolicyError(
            f"vLLM reported the experts of {len(experts)} tokens where it read {num_tokens - 1}"
        )
    known: NDArray[np.int16] = experts[start:, :num_mixtures].astype(np.int16)
    unread = np.full((1, *known.shape[1:]), -1, np.int16)
    return np.concatenate([known, unread], dtype=np.int16)
