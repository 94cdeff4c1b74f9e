"""Fifty steps whose every figure is known.

    python -m tests.base_model.golden           record them anew
    python -m tests.base_model.golden same      say whether a change left them equal to the bit

First weights and documents are drawn by NumPy, so that they do not depend on the versions of torch
and transformers; dropout is torch's. Products differ in their last bits between processors (also
between some that have one name), builds of torch and numbers of threads, so figures are equal to
the bit between two runs of one machine only: record before a change that should alter nothing, and
ask after it. The test (`test_golden`) asks for nearness.
"""

from __future__ import annotations

import json
import platform
import sys
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import transformers

from munro.base_model.training.pretrain import StepMetrics, pretrain
from tests.base_model.builders import small_tokenizer
from tests.base_model.trainable import KINDS, maker, training

FOLDER = Path(__file__).parent / "golden"
STEPS = 50


class Progressions:
    """Documents in which every token is the one before plus a stride."""

    def tokens(self, index: int, progress: float) -> list[int]:
        rng = np.random.default_rng([7, index])
        start, stride, length = rng.integers(40), rng.integers(1, 3), rng.integers(4, 48)
        return [int(3 + (start + stride * place) % 40) for place in range(length)]


def drawn(kind: str) -> Any:
    """A model whose weights NumPy draws."""
    model = maker(kind)()
    with torch.no_grad():
        for number, (name, weight) in enumerate(sorted(model.named_parameters())):
            rng = np.random.default_rng([11, number])
            values = rng.standard_normal(weight.shape, np.float32) * 0.02
            gain = 0.0 if "attention_out_norm" in name else 1.0
            weight.copy_(torch.from_numpy(values) if weight.ndim > 1 else torch.tensor(gain))
    return model


def nudge(model: Any) -> Any:
    """Every weight moved by one unit in the last place, up or down: what a rounding may do."""
    rng = np.random.default_rng(13)
    with torch.no_grad():
        for weight in model.parameters():
            up = rng.random(weight.shape) < 0.5
            ends = torch.from_numpy(np.where(up, np.inf, -np.inf).astype(np.float32))
            weight.copy_(torch.nextafter(weight, ends))
    return model


def signature() -> dict[str, str]:
    """Where figures were recorded."""
    cpu = platform.processor()
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.partition(": ")[2] for line in lines if "model name" in line), cpu)
    return {
        "cpu": cpu,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def run(kind: str, *, nudged: bool = False) -> dict[str, Any]:
    """Loss and gradient norm of every step, and the weights at the end."""
    seen: list[StepMetrics] = []
    with TemporaryDirectory() as folder:
        done = pretrain(
            lambda: nudge(drawn(kind)) if nudged else drawn(kind),
            small_tokenizer(),
            Progressions(),
            training(
                num_steps=STEPS,
                balance=0.01,
                checkpoint_every=STEPS,
                optimizer={"learning_rate": 0.01},
            ),
            folder=Path(folder),
            on_metrics=seen.append,
        )
        weights = done.model(dtype="auto").state_dict()
    digest, squares = sha256(), 0.0
    for name in sorted(weights):
        array = weights[name].numpy()
        digest.update(name.encode() + array.tobytes())
        squares += float(np.square(array, dtype=np.float64).sum())
    return {
        "machine": signature(),
        "weights": {"sha256": digest.hexdigest(), "norm": squares**0.5},
        "steps": [[one.loss, one.grad_norm] for one in seen],
    }


def file_of(kind: str) -> Path:
    """Where the figures are kept."""
    return FOLDER / f"{kind}.json"


def main() -> None:
    """Record the figures of this machine, or compare with those that it recorded."""
    if sys.argv[1:] == ["same"]:
        kept = {kind: json.loads(file_of(kind).read_text()) for kind in KINDS}
        others = [kind for kind in KINDS if run(kind) != kept[kind]]
        sys.exit(f"not equal to the bit: {', '.join(others)}" if others else 0)
    FOLDER.mkdir(exist_ok=True)
    for kind in KINDS:
        found = run(kind)
        steps = ",\n    ".join(json.dumps(step) for step in found.pop("steps"))
        head = json.dumps(found, indent=2).removesuffix("\n}")
        file_of(kind).write_text(f'{head},\n  "steps": [\n    {steps}\n  ]\n}}\n')


if __name__ == "__main__":
    main()
