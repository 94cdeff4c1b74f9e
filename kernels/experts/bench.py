"""What a layer of experts costs on a CPU, against the bare products and against transformers'.

    python -m munro.kernels.experts.bench

One thread, forward and backward, CPU seconds: the median of rounds in which the subjects take
turns. "bare products" are the six dense products of the same operations, nothing moved between.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from munro.kernels.experts import grouped, reference

ROUNDS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Of the layer that is measured."""

    tokens: int = 512
    width: int = 256
    inner: int = 384
    experts: int = 64
    top_k: int = 8


@dataclass(frozen=True, slots=True)
class Problem:
    """Leaves, and where every token goes."""

    x: Tensor
    gate_up: Tensor
    down: Tensor
    gates: Tensor
    ids: Tensor

    @classmethod
    def drawn(cls, shape: Shape) -> Problem:
        """Random weights, and a router that knows nothing."""
        torch.manual_seed(0)
        N, W, I, E = shape.tokens, shape.width, shape.inner, shape.experts  # noqa: E741
        gates_NK, ids_NK = torch.randn(N, E).softmax(-1).topk(shape.top_k)
        leaves = (
            torch.randn(N, W),
            torch.randn(E, 2 * I, W) * 0.02,
            torch.randn(E, W, I) * 0.02,
            gates_NK,
        )
        x_NW, gate_up_EIW, down_EWI, gates_NK = (leaf.requires_grad_() for leaf in leaves)
        return cls(x_NW, gate_up_EIW, down_EWI, gates_NK, ids_NK)

    def forget(self) -> None:
        """Drop gradients, so that each call makes its own."""
        for leaf in (self.x, self.gate_up, self.down, self.gates):
            leaf.grad = None


def bare_products(problem: Problem) -> Callable[[], None]:
    """The two products of all assignments, and the four of their gradients."""
    gate_up, down = problem.gate_up[0].detach(), problem.down[0].detach()
    A = problem.ids.numel()
    rows, inner, hidden = (torch.randn(A, width) for width in (*gate_up.t().shape, down.shape[1]))

    def run() -> None:
        torch.mm(rows, gate_up.t())
        torch.mm(hidden, down.t())
        torch.mm(inner, gate_up)
        torch.mm(rows, down)
        torch.mm(inner.t(), rows)
        torch.mm(rows.t(), hidden)

    return run


def ours(problem: Problem, mix: Callable[..., Tensor]) -> Callable[[], None]:
    """Forward and backward of one of our twins."""

    def run() -> None:
        problem.forget()
        out = mix(
            problem.x,
            problem.gate_up,
            problem.down,
            problem.ids,
            problem.gates,
        )
        out.sum().backward()  # type: ignore[no-untyped-call]

    return run


def theirs(problem: Problem, shape: Shape, implementation: str) -> Callable[[], None]:
    """Forward and backward of transformers' block for Qwen3's mixtures."""
    from transformers import Qwen3MoeConfig
    from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeExperts

    config = Qwen3MoeConfig(
        hidden_size=shape.width,
        moe_intermediate_size=shape.inner,
        num_experts=shape.experts,
        num_experts_per_tok=shape.top_k,
    )
    block = Qwen3MoeExperts(config)
    block.config._experts_implementation = implementation
    block.gate_up_proj.data = problem.gate_up.detach()
    block.down_proj.data = problem.down.detach()

    def run() -> None:
        problem.forget()
        block.zero_grad(set_to_none=True)
        block(problem.x, problem.ids, problem.gates).sum().backward()

    return run


def measured(shape: Shape, rounds: int = ROUNDS) -> dict[str, float]:
    """Median CPU seconds of each subject.

    The fast ones take turns, and then the slow ones, which ask for so much fresh memory in a call
    that the allocator serves whoever comes next another way.
    """
    problem = Problem.drawn(shape)
    fast = {
        "bare products": bare_products(problem),
        "munro": ours(problem, grouped.experts),
        "transformers grouped_mm": theirs(problem, shape, "grouped_mm"),
    }
    slow = {
        "transformers eager": theirs(problem, shape, "eager"),
        "our reference": ours(problem, reference.experts),
    }
    times: dict[str, list[float]] = {}
    for subjects, number in ((fast, 3 * rounds), (slow, rounds // 2)):
        for _ in range(number + 1):
            for name, run in subjects.items():
                began = time.thread_time()
                run()
                times.setdefault(name, []).append(time.thread_time() - began)
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    shape = Shape()
    figures = measured(shape)
    floor = figures["bare products"]
    lines = [f"{shape}: CPU ms, forward and backward"]
    lines += [f"{name:26}{s * 1e3:10.1f}{s / floor:8.2f}x" for name, s in figures.items()]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
