"""A reply in pieces, so that the death of its server costs the last of them and not all.

No engine hands out what it has sampled of a reply before that is done. So a long one is asked for
in pieces: each is a request of its own whose prompt is all there is so far, which a prefix cache
knows. Every token keeps the version and the log-probability that it was drawn with. The draws of a
piece depend on the request and its number alone; they are others than those of a reply in one.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from munro.envs.types import KeptTokens
from munro.rollout.engine import Completion, Request
from munro.rollout.seeds import request_seed


def piece_of(request: Request, done: Completion | None, tokens: int, number: int) -> Request:
    """The request for the next piece.

    Args:
        request: for the whole reply.
        done: what there is of it; None before the first piece.
        tokens: of a piece, at most.
        number: of the piece, from 0.
    """
    if done is None:
        return replace(request, max_tokens=min(tokens, request.max_tokens))
    prompt = [*request.prompt_ids, *done.token_ids.tolist()]
    known = done.routed_experts is not None
    return replace(
        request,
        prompt_ids=prompt,
        max_tokens=min(tokens, request.max_tokens - len(done.token_ids)),
        seed=request_seed(request.seed, (number,)),
        # the last token so far was drawn, and read by nobody yet
        routed_from=len(prompt) - 1 if known else request.routed_from,
    )


def joined(done: Completion, more: Completion) -> Completion:
    """Two pieces as one."""
    starts = np.concatenate([done.kept.starts, more.kept.starts[1:] + done.kept.starts[-1]])
    return Completion(
        token_ids=np.concatenate([done.token_ids, more.token_ids]),
        logp=np.concatenate([done.logp, more.logp]),
        kept=KeptTokens(
            ids=np.concatenate([done.kept.ids, more.kept.ids]), starts=starts.astype(np.int32)
        ),
        versions=np.concatenate([done.versions, more.versions]),
        stopped=more.stopped,
        num_cut=done.num_cut + more.num_cut,
        routed_experts=_experts(done.routed_experts, more.routed_experts, len(more.token_ids)),
    )


def is_last(piece: Request, got: Completion, request: Request, done: Completion) -> bool:
    """Whether nothing follows: it stopped, or the cap or the context ended it."""
    is_short = len(got.token_ids) < piece.max_tokens
    return got.stopped or is_short or len(done.token_ids) >= request.max_tokens


def _experts(
    done: NDArray[np.int16] | None, more: NDArray[np.int16] | None, num_new: int
) -> NDArray[np.int16] | None:
    """The rows of the first piece but for its last token, which the second one's pass has read."""
    if done is None or more is None:
        return None
    return np.concatenate([done[:-1], more[-(num_new + 1) :]])
