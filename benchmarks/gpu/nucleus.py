"""Log-probabilities over recorded nuclei: the kept rows of the output matrix and no others."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from gpu.rows import Rows, compare, device_of, random
from torch import Tensor

from munro.kernels.linear_logprob import linear_logprob
from munro.kernels.nucleus_logprob import nucleus_logprob
from munro.kernels.nucleus_logprob.layout import plan


def run(rows: Rows, *, smoke: bool) -> None:
    device = device_of(smoke=smoke)
    tokens, width, vocabulary = (256, 64, 1000) if smoke else (8192, 1024, 151_936)
    hidden = random(tokens, width, device=device, grad=True)
    master = random(
        vocabulary, width, device=device, dtype=torch.float32, std=3 / width**0.5, grad=True
    )
    token, ids, starts = _nuclei(tokens, vocabulary)
    planned = plan(token, ids, starts, num_rows=vocabulary).to(device)
    chosen = torch.from_numpy(token).to(device)

    working = master.detach().to(torch.bfloat16).requires_grad_()
    working.grad_dtype = torch.float32

    def nucleus(weight: Tensor, grad_weight: str) -> Tensor:
        """As the learner does it, gradients go where those of other micro-batches are."""
        hidden.grad = None
        if grad_weight == "return":
            weight.grad = None
        with torch.autocast(device.type, torch.bfloat16):
            logp = nucleus_logprob(hidden, weight, chosen, planned, grad_weight=grad_weight)
        logp.sum().backward()  # type: ignore[no-untyped-call]
        return logp

    def whole() -> Tensor:
        hidden.grad = master.grad = None
        with torch.autocast(device.type, torch.bfloat16):
            logp, _ = linear_logprob(hidden, master, chosen)
        logp.sum().backward()  # type: ignore[no-untyped-call]
        return logp

    # float32 rows read twice, their gradient read and written once
    moved = 16.0 * len(ids) * width
    master.grad, working.grad = (torch.zeros_like(master) for _ in range(2))
    subjects = {
        "munro": partial(nucleus, master, "add"),
        "munro, bfloat16 weights": partial(nucleus, working, "add"),
        "whole vocabulary": whole,
        "munro, its gradient returned": partial(nucleus, master, "return"),
    }
    what = f"nucleus T={tokens} D={width} M={len(ids)}"
    compare(rows, what, subjects, smoke=smoke, moved=moved)
    found = []
    for _ in range(2):
        logp = nucleus(master, "return")
        assert hidden.grad is not None
        assert master.grad is not None
        found.append((logp.detach(), hidden.grad.clone(), master.grad.clone()))
    same = all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    rows.note(what=what, same_bits_twice=same)


def _nuclei(tokens: int, vocabulary: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tokens (T,), kept candidates (M,) and their starts (T + 1,).

    By Zipf's law a few ids are in most nuclei, which is what makes atomics slow and sums unordered.
    """
    draw = np.random.default_rng(0)
    count = np.minimum(draw.geometric(0.25, tokens), 64)
    starts = np.concatenate([[0], count.cumsum()]).astype(np.int64)
    ids = np.concatenate([_some(draw, int(number), vocabulary) for number in count])
    return ids[starts[:-1]], ids, starts


def _some(draw: np.random.Generator, number: int, vocabulary: int) -> np.ndarray:
    """Different ids, common ones first."""
    found: dict[int, None] = {}
    while len(found) < number:
        for value in draw.zipf(1.3, 4 * number):
            if value <= vocabulary and len(found) < number:
                found.setdefault(int(value) - 1)
    return np.fromiter(found, np.int64)
