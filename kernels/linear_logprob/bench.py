"""What the whole head costs on a CPU, forward and backward, beside all logits and beside peers.

    python -m munro.kernels.linear_logprob.bench [--positions 2048] [--vocabulary 49152 151936]
    python -m munro.kernels.linear_logprob.bench --python PEERS/bin/python

"naive" is what torch does by itself, "our library" the same where matrices are multiplied as in
every process of ours that learns (`munro.kernels.products`). Each subject has a process of its own:
the most memory beyond its inputs (gradients among it, unless they are added in place), and CPU
seconds, the least of a few calls. Peers that cannot be imported are told. The second form runs
TRL's, Liger's and Apple's in another environment, which needs no Munro installed.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import os
import subprocess
import sys
import time
import types
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

WIDTH = 576
CALLS = 3
"""The least of so many is told."""
Problem = tuple[Tensor, Tensor, Tensor, Tensor]
"""Hidden states (T, D), the matrix (V, D), tokens (T,) and what each weighs in the loss (T,)."""


def naive(problem: Problem) -> None:
    """All logits at once."""
    hidden, weight, token, share = problem
    logp = (hidden @ weight.T).log_softmax(-1).gather(-1, token[:, None])[:, 0]
    (logp * share).sum().backward()  # type: ignore[no-untyped-call]


def munro(problem: Problem, grad_weight: str = "return") -> None:
    """Ours."""
    from munro.kernels.linear_logprob import linear_logprob

    hidden, weight, token, share = problem
    logp, _ = linear_logprob(hidden, weight, token, grad_weight=grad_weight)
    (logp * share).sum().backward()  # type: ignore[no-untyped-call]


def in_place(problem: Problem) -> None:
    """Ours, the matrix's gradient added to one that is there."""
    munro(problem, "add")


def trl(problem: Problem) -> None:
    """TRL's chunked log-probabilities."""
    # its backward pass wants one helper of a module that wants half of the package index
    stub: Any = types.ModuleType("trl.trainer.utils")
    stub.maybe_gather_lm_head_ctx = lambda *_: contextlib.nullcontext()
    parent: Any = types.ModuleType("trl.trainer")
    parent.__path__ = []
    sys.modules.setdefault("trl.trainer", parent)
    sys.modules.setdefault("trl.trainer.utils", stub)
    trl_ops: Any = import_module("trl.kernels.chunked_logprob")
    hidden, weight, token, share = problem
    given = (hidden, weight, None, token, 1.0, 32_768, None, 1.0, ())
    logp: Tensor = trl_ops.ChunkedLogProbFunction.apply(*given)[0]
    (logp * share).sum().backward()  # type: ignore[no-untyped-call]


def liger(problem: Problem) -> None:
    """Liger's scaled cross entropy, the way that it takes without its Hopper toolkit."""
    ops: Any = import_module("liger_kernel.ops.fused_linear_scaled_cross_entropy")
    hidden, weight, token, share = problem
    found = ops._FusedLinearPPOFallbackFunction.apply(hidden, weight, token, 1.0, -100, False)
    nll: Tensor = found[0] if isinstance(found, tuple) else found
    (nll * -share).sum().backward()  # type: ignore[no-untyped-call]


def apple(problem: Problem) -> None:
    """Apple's cut cross entropy, which on a CPU is torch.compile's."""
    ops: Any = import_module("cut_cross_entropy")
    hidden, weight, token, share = problem
    nll = ops.linear_cross_entropy(hidden, weight, token, reduction="none", impl="torch_compile")
    (nll * -share).sum().backward()


OURS: Mapping[str, Callable[[Problem], None]] = {
    "naive": naive,
    "naive, our library": naive,
    "munro": munro,
    "munro in place": in_place,
}
PEERS: Mapping[str, tuple[Callable[[Problem], None], str]] = {
    "trl": (trl, "trl"),
    "liger": (liger, "liger-kernel"),
    "apple": (apple, "cut-cross-entropy"),
}


def measure(name: str, positions: int, vocabulary: int) -> str:
    """One subject's line, measured in this process."""
    call = OURS[name] if name in OURS else PEERS[name][0]
    version = "" if name in OURS else f" {importlib.metadata.version(PEERS[name][1])}"
    if name in OURS and name != "naive":
        from munro.kernels.products import settle

        settle()  # as every process of ours that learns does
    torch.manual_seed(0)
    hidden = torch.randn(positions, WIDTH).requires_grad_()
    weight = (torch.randn(vocabulary, WIDTH) * 3 / WIDTH**0.5).requires_grad_()
    problem = hidden, weight, torch.randint(vocabulary, (positions,)), torch.randn(positions)
    if name == "munro in place":
        weight.grad = torch.zeros_like(weight).add_(0)  # touched, so that its memory is there
    small = hidden.detach()[:8].clone().requires_grad_(), torch.randn(64, WIDTH).requires_grad_()
    call((*small, torch.zeros(8, dtype=torch.int64), torch.ones(8)))  # what is loaded once
    before = _reset_peak()
    call(problem)
    extra = _peak() - before
    seconds = []
    for _ in range(CALLS):
        hidden.grad = None
        if name != "munro in place":
            weight.grad = None
        began = time.process_time()
        call(problem)
        seconds.append(time.process_time() - began)
    return f"{name + version:<20}{extra / 1e6:8.0f} MB{min(seconds):9.2f} CPU-s"


def _reset_peak() -> int:
    """Forget the most memory that this process had; what it has now, in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def main() -> None:
    """Run every subject in a process of its own, one after another."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--positions", type=int, default=2048)
    parser.add_argument("--vocabulary", type=int, nargs="+", default=[49_152, 151_936])
    parser.add_argument("--python", default=sys.executable, help="that has the peers")
    parser.add_argument("--one", default="", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        sys.stdout.write(measure(asked.one, asked.positions, asked.vocabulary[0]) + "\n")
        return
    for vocabulary in asked.vocabulary:
        sys.stdout.write(
            f"T={asked.positions} D={WIDTH} V={vocabulary}, float32, beyond the inputs\n"
        )
        for name in (*OURS, *PEERS):
            python = sys.executable if name in OURS else asked.python
            size = ["--positions", str(asked.positions), "--vocabulary", str(vocabulary)]
            done = subprocess.run(
                [python, __file__, "--one", name, *size],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
                if name in OURS
                else os.environ,
                capture_output=True,
                text=True,
                check=False,
            )
            last = (done.stderr.strip().splitlines() or ["no word"])[-1]
            line = f"{name}: {last[:80]}" if done.returncode else done.stdout.strip()
            sys.stdout.write(f"  {line}\n")


if __name__ == "__main__":
    main()
