"""Products of a small model's layers by torch's own library and by oneDNN, turn by turn.

    python -m munro.kernels.products.bench [--threads 2]

A shape is tokens x inputs x outputs; forward is x W', the two others are its gradients.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import torch

from munro.kernels.products import decision, onednn

SHAPES = ((256, 128, 384), (1024, 128, 512), (2048, 576, 576), (2048, 576, 1536), (2048, 1536, 576))
ROUNDS = 9


def best(make: Callable[[], object]) -> float:
    """Seconds of the fastest of a few calls."""
    spent = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        make()
        spent.append(time.perf_counter() - began)
    return min(spent)


def rates(tokens: int, inputs: int, outputs: int) -> dict[str, float]:
    """GFLOP/s of the three products of a layer, as torch makes them now."""
    x, weight = torch.randn(tokens, inputs), torch.randn(outputs, inputs)
    grad = torch.randn(tokens, outputs)
    work = 2e-9 * tokens * inputs * outputs
    products = {
        "forward": lambda: x @ weight.T,
        "grad_input": lambda: grad @ weight,
        "grad_weight": lambda: grad.T @ x,
    }
    return {name: work / best(make) for name, make in products.items()}


def main() -> None:
    """Print a line a shape, then one of JSON."""
    parser = argparse.ArgumentParser(description="Float32 products by two libraries.")
    parser.add_argument("--threads", type=int, default=0, help="0: torch's own number")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    print(decision())  # noqa: T201
    found = {}
    for shape in SHAPES:
        onednn.uninstall()
        theirs = rates(*shape)
        onednn.install()
        ours = rates(*shape)
        name = " x ".join(map(str, shape))
        found[name] = {"torch": theirs, "onednn": ours}
        line = "  ".join(
            f"{kind} {theirs[kind]:.0f} -> {ours[kind]:.0f} ({ours[kind] / theirs[kind]:.2f}x)"
            for kind in ours
        )
        print(f"{name}: {line} GFLOP/s", flush=True)  # noqa: T201
    print(json.dumps({"benchmark": "products", "gflops": found}))  # noqa: T201


if __name__ == "__main__":
    main()
