"""A layer of experts, forward and backward: ours, transformers', Liger's, and the bare products.

N tokens, W their width, I an expert's inner width, E experts, K experts a token goes to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from gpu.rows import Rows, Subject, compare, device_of, random
from torch import Tensor

from munro.kernels.experts import experts

SHAPES = (
    (16_384, 512, 768, 512, 8),  # the report's LatentMoE at 12 layers
    (8192, 2048, 768, 128, 8),  # Qwen3-30B-A3B
)


@dataclass(frozen=True, slots=True)
class Work:
    """One layer, and where its tokens go."""

    x: Tensor
    up: Tensor
    """[E, 2I, W] float32 masters."""
    down: Tensor
    """[E, W, I] float32 masters."""
    ids: Tensor
    gates: Tensor

    @classmethod
    def of(cls, shape: tuple[int, int, int, int, int], device: torch.device) -> Work:
        tokens, width, inner, number, each = shape
        made = partial(random, device=device, grad=True)
        masters = partial(made, dtype=torch.float32, std=0.02)
        scores = random(tokens, number, device=device, dtype=torch.float32).softmax(-1)
        gates, ids = scores.topk(each)
        return cls(
            x=made(tokens, width),
            up=masters(number, 2 * inner, width),
            down=masters(number, width, inner),
            ids=ids,
            gates=(gates / gates.sum(-1, keepdim=True)).requires_grad_(),
        )

    @property
    def leaves(self) -> tuple[Tensor, ...]:
        return self.x, self.up, self.down, self.gates

    def reset(self) -> None:
        for leaf in self.leaves:
            leaf.grad = None


def run(rows: Rows, *, smoke: bool) -> None:
    device = device_of(smoke=smoke)
    for shape in ((128, 32, 48, 16, 4),) if smoke else SHAPES:
        tokens, width, inner, number, each = shape
        work = Work.of(shape, device)
        subjects = _subjects(work, smoke=smoke)
        what = f"experts N={tokens} W={width} I={inner} E={number} K={each}"
        compare(rows, what, subjects, smoke=smoke, flops=18.0 * tokens * each * width * inner)
        theirs = ("transformers grouped_mm", "liger fused_moe")
        for name in ("munro", *(theirs if rows.peers else ())):
            _repeats(rows, what, name, subjects[name], work)
        del work, subjects


def _subjects(work: Work, *, smoke: bool) -> dict[str, Subject]:
    up = work.up.detach().to(torch.bfloat16).requires_grad_()
    down = work.down.detach().to(torch.bfloat16).requires_grad_()

    def both(function: Callable[[], Tensor]) -> Subject:
        def call() -> None:
            work.reset()
            up.grad = down.grad = None
            function().float().sum().backward()  # type: ignore[no-untyped-call]

        return call

    def masters() -> Tensor:
        with torch.autocast(work.x.device.type, torch.bfloat16):
            return experts(work.x, work.up, work.down, work.ids, work.gates)

    def liger() -> Tensor:
        from liger_kernel.ops.fused_moe import LigerFusedMoEFunction

        given = (work.x, up, down, work.ids.to(torch.int32), work.gates.to(work.x.dtype))
        found: Tensor = LigerFusedMoEFunction.apply(*given)
        return found

    theirs = _transformers(work, up, down)
    found = {
        "munro": both(masters),
        "munro, bfloat16 weights": both(lambda: experts(work.x, up, down, work.ids, work.gates)),
        "transformers grouped_mm": both(partial(theirs, "grouped_mm")),
        "liger fused_moe": both(liger),
    }
    if not smoke:
        found["floor: six grouped products"] = _floor(work, up, down)
        if len(up) <= 128:
            found["transformers eager"] = both(partial(theirs, "eager"))
    return found


def _transformers(work: Work, up: Tensor, down: Tensor) -> Callable[[str], Tensor]:
    from transformers import Qwen3MoeConfig
    from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeExperts

    config = Qwen3MoeConfig(
        hidden_size=work.x.shape[1],
        moe_intermediate_size=down.shape[2],
        num_experts=len(up),
        num_experts_per_tok=work.ids.shape[1],
    )
    with torch.device("meta"):
        layer: Any = Qwen3MoeExperts(config)
    layer.gate_up_proj = torch.nn.Parameter(up.detach())
    layer.down_proj = torch.nn.Parameter(down.detach())

    def call(implementation: str) -> Tensor:
        layer.zero_grad(set_to_none=True)
        layer.config._experts_implementation = implementation
        answer: Tensor = layer(work.x, work.ids, work.gates.to(work.x.dtype))
        return answer

    return call


def _floor(work: Work, up: Tensor, down: Tensor) -> Subject:
    """Two grouped products forward and four backward, with nothing moved between them."""
    tokens, each = work.ids.shape
    made = partial(random, tokens * each, device=work.x.device)
    rows, inner, gated = made(up.shape[2]), made(down.shape[2]), made(up.shape[1])
    counts = torch.bincount(work.ids.flatten(), minlength=len(up))
    ends = counts.cumsum(0).to(torch.int32)
    product = partial(torch.nn.functional.grouped_mm, offs=ends)

    def call() -> None:
        with torch.no_grad():
            product(rows, up.transpose(1, 2))
            product(inner, down.transpose(1, 2))
            product(gated, up)
            product(rows, down)
            product(gated.T, rows)
            product(rows.T, inner)

    return call


def _repeats(rows: Rows, what: str, name: str, call: Subject, work: Work) -> None:
    found = []
    try:
        for _ in range(2):
            call()
            grads = [leaf.grad for leaf in (work.x, work.gates)]
            found.append([grad.clone() for grad in grads if grad is not None])
    except Exception as error:  # noqa: BLE001 - what does not run is a row
        rows.failed(error, what=what, repeats=name)
        return
    same = all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    rows.note(what=what, repeats=name, same_bits_twice=same)
