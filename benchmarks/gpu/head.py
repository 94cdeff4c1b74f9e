"""Log-probabilities of tokens and their gradients, from bfloat16 hidden states and float32 masters.

`6TVD` counts the three products that nobody can leave out (T tokens, V vocabulary, D width).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from gpu import peers
from gpu.rows import Rows, Subject, compare, device_of, random
from torch import Tensor

from munro.kernels.linear_logprob import linear_logprob

SHAPES = ((8192, 576, 49_152), (8192, 1024, 151_936), (8192, 4096, 151_936))


@dataclass(frozen=True, slots=True)
class Work:
    """One output matrix and what is asked of it."""

    hidden: Tensor
    master: Tensor
    """float32, what the optimizer holds."""
    weight: Tensor
    """bfloat16, what is multiplied."""
    token: Tensor
    share: Tensor
    """What each token's log-probability weighs in the loss."""

    @classmethod
    def of(cls, shape: tuple[int, int, int], device: torch.device) -> Work:
        tokens, width, vocabulary = shape
        std = 3 / width**0.5
        made = partial(random, device=device, grad=True)
        master = made(vocabulary, width, dtype=torch.float32, std=std)
        return cls(
            hidden=made(tokens, width),
            master=master,
            weight=master.detach().to(torch.bfloat16).requires_grad_(),
            token=torch.randint(vocabulary, (tokens,), device=device),
            share=random(tokens, device=device, dtype=torch.float32),
        )

    def reset(self) -> None:
        self.hidden.grad = self.master.grad = self.weight.grad = None


def run(rows: Rows, *, smoke: bool) -> None:
    device = device_of(smoke=smoke)
    for shape in ((512, 64, 1000),) if smoke else SHAPES:
        tokens, width, vocabulary = shape
        work = Work.of(shape, device)
        subjects = _subjects(work, smoke=smoke)
        what = f"head T={tokens} D={width} V={vocabulary}"
        compare(rows, what, subjects, smoke=smoke, flops=6.0 * tokens * vocabulary * width)
        _accuracy(rows, what, work, subjects)
        _repeats(rows, what, work)
        del work, subjects


def _subjects(work: Work, *, smoke: bool) -> dict[str, Subject]:
    def peer(function: Callable[..., object], weight: Tensor) -> Subject:
        def call() -> object:
            work.reset()
            return function(work.hidden, weight, work.token, work.share)

        return call

    impl = "torch_compile" if smoke else "cce"
    found = {
        "floor: three bare products": partial(_floor, work),
        "all logits": peer(peers.logits, work.master),
        "munro": partial(_munro, work, work.master),
        "munro, bfloat16 weights": partial(_munro, work, work.weight),
        "munro, added in place": partial(_munro, work, work.master, "add"),
        "trl": peer(peers.trl, work.weight),
        "liger ppo, its fallback": peer(peers.liger_ppo, work.weight),
        "liger mean cross entropy": peer(peers.liger_mean, work.weight),
        "apple filtered": peer(partial(peers.apple, filter_eps="auto", impl=impl), work.weight),
    }
    if not smoke:
        exact = partial(peers.apple, filter_eps=None, impl=impl)
        found["apple exact"] = peer(exact, work.weight)
    return found


def _munro(work: Work, weight: Tensor, grad_weight: str = "return") -> Tensor:
    work.hidden.grad = None
    if grad_weight == "return":
        work.reset()
    with torch.autocast(work.hidden.device.type, torch.bfloat16):
        logp, _ = linear_logprob(work.hidden, weight, work.token, grad_weight=grad_weight)
    (logp * work.share).sum().backward()  # type: ignore[no-untyped-call]
    return logp


def _floor(work: Work) -> None:
    """The three products and nothing else, by pieces of the vocabulary."""
    with torch.no_grad():
        for some in work.weight.split(8192):
            logit = work.hidden @ some.T
            logit @ some
            logit.T @ work.hidden


def _accuracy(rows: Rows, what: str, work: Work, subjects: dict[str, Subject]) -> None:
    """Against float64 of the same operands at 64 positions: a fast wrong answer is seen."""
    tokens = len(work.token)
    some = torch.arange(0, tokens, tokens // 64, device=work.token.device)[:64]
    exact = work.hidden.detach()[some].double().requires_grad_()
    every = exact @ work.weight.detach().double().T
    truth = every.log_softmax(-1).gather(-1, work.token[some, None])[:, 0]
    (truth * work.share[some]).sum().backward()  # type: ignore[no-untyped-call]
    assert exact.grad is not None
    for name, call in subjects.items():
        with contextlib.suppress(Exception):  # what does not run is a row already
            logp = call()
            if not isinstance(logp, Tensor) or work.hidden.grad is None:
                continue
            off = (logp.detach()[some].double() - truth.detach()).abs()
            slope = work.hidden.grad[some].double() - exact.grad
            rows.note(
                what=what,
                accuracy_of=name,
                logp_max=float(off.max()),
                logp_mean=float(off.mean()),
                grad_relative=float(slope.norm() / exact.grad.norm()),
            )


def _repeats(rows: Rows, what: str, work: Work) -> None:
    found = []
    for _ in range(2):
        logp = _munro(work, work.master)
        assert work.hidden.grad is not None
        assert work.master.grad is not None
        found.append((logp.detach(), work.hidden.grad.clone(), work.master.grad.clone()))
    same = all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    rows.note(what=what, same_bits_twice=same)
